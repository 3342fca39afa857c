// Instructions that compute capability 9.0 has and no other: products of a warpgroup (128 threads
// that call each of them together), tiles that are copied without threads, and barriers that such
// copies arrive at. Where no card's compiler reads this, plain C++ does the same for the simulated
// card of tools/gpu/simulator.
//
// Source: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions", "mbarrier",
// "cp.async.bulk.tensor", "setmaxnreg".
#pragma once

#include "values.cuh"

const int WARPGROUP = 128;

// A tile is rows of 64 columns, 128 bytes: the most that a copy permutes the chunks of. Chunk c of
// row r lies at c ^ r % 8, so that one chunk of eight rows uses all banks of the memory.
const int COLUMNS = 64;
const int EIGHT_ROWS_BYTES = 8 * COLUMNS * sizeof(bf16);
const int TILE_ALIGNMENT = EIGHT_ROWS_BYTES;

#ifdef __CUDACC__

#include <cuda.h>

using TileMap = CUtensorMap;

__device__ inline uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

// The memory that a launch asks for beside what a kernel names. It may begin anywhere.
__device__ inline char *asked_memory() {
    extern __shared__ char memory[];
    return memory;
}

// Copies of tiles and products that begin after this, and after a barrier of all threads that
// write, see what this thread has written or copied to its block's memory: barriers and values.
__device__ inline void publish() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- Barriers -----------------------------------------------------------------------------------

using Barrier = uint64_t;

// A barrier whose phase ends after so many arrivals, and all bytes that were announced.
__device__ inline void create(Barrier *barrier, unsigned arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
}

__device__ inline void arrive(Barrier *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

// Arrives, and announces bytes that copies will bring.
__device__ inline void arrive_and_expect(Barrier *barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

// Returns when the phase of this parity has ended. Phases are numbered from 0; the one before the
// first has ended.
__device__ inline void await(Barrier *barrier, unsigned parity) {
    asm volatile("{\n"
                 ".reg .pred ended;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
                 "@!ended bra again;\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}

// Begins to copy a tile, from (column, head, row, item) of what the map describes on, which arrives
// at the barrier. What lies outside becomes 0, and counts.
__device__ inline void begin_copy(void *to, const TileMap *map, Barrier *barrier, int column,
                                  int head, int row, int item) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(to)),
                 "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(head), "r"(row), "r"(item)
                 : "memory");
}

// --- Warpgroups ---------------------------------------------------------------------------------

// How many registers a thread of the warpgroup has from here on.
template <int COUNT> __device__ inline void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT> __device__ inline void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// Where products read: from a place in a tile on, and how many bytes on from there the next eight
// rows are and, where more than 64 columns are read, the next 64. In units of 16 bytes; the last bit
// says that chunks are permuted.
using Place = uint64_t;
__device__ inline Place described(const bf16 *place, unsigned next_columns_bytes) {
    uint64_t address = (shared_address(place) & 0x3ffff) >> 4;
    return address | (uint64_t)(next_columns_bytes >> 4) << 16 |
           (uint64_t)(EIGHT_ROWS_BYTES >> 4) << 32 | 1ull << 62;
}

// A place so many bytes on, a multiple of 16.
__device__ inline Place onward(Place place, unsigned bytes) { return place + (bytes >> 4); }

// Products that begin after this see what was written to registers before it.
__device__ inline void begin_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Makes a group of the products that were begun since the last one.
__device__ inline void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Returns when all products are done.
__device__ inline void await_products() {
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// Returns when all products are done but those of the last group. The registers of all are left
// alone until await_products.
__device__ inline void await_earlier_products() {
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
}

// Keeps the compiler from moving what uses these registers across this place: it does not know
// that products are still at work on them.
template <int N> __device__ inline void pin(float (&values)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(values[i])::"memory");
}

#define SUMS_16(s, i)                                                                              \
    "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]),    \
        "+f"(s[i + 6]), "+f"(s[i + 7]), "+f"(s[i + 8]), "+f"(s[i + 9]), "+f"(s[i + 10]),           \
        "+f"(s[i + 11]), "+f"(s[i + 12]), "+f"(s[i + 13]), "+f"(s[i + 14]), "+f"(s[i + 15])
#define SUMS(s) SUMS_16(s, 0), SUMS_16(s, 16), SUMS_16(s, 32), SUMS_16(s, 48)
#define SUMS_TEXT                                                                                  \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                      \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "

// Begins sums (64x128) = a (64x16) b (16x128), added to what they were if `add`. Both are tiles
// whose rows are those of `a` and the columns of `b`. A thread's sums 4 n to 4 n + 3 are columns
// 8 n + 2 (lane % 4) and the next one of row 16 warp + lane / 4, then of the row 8 below.
__device__ inline void begin_multiply(float (&sums)[64], Place a, Place b, bool add) {
    asm volatile("{\n"
                 ".reg .pred add;\n"
                 "setp.ne.b32 add, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " SUMS_TEXT
                 "%64, %65, add, 1, 1, 0, 0;\n"
                 "}"
                 : SUMS(sums)
                 : "l"(a), "l"(b), "r"((int)add));
}

// Begins sums (64x128) += a (64x16) b (16x128). `a` is in registers, its quarters as the sums have
// them: rows 8 apart, then columns. `b` is a tile whose rows are those of `b`.
__device__ inline void begin_multiply_add(float (&sums)[64], uint4 a, Place b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " SUMS_TEXT
                 "{%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : SUMS(sums)
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(b));
}

#else

inline char *asked_memory() {
    static __attribute__((aligned(TILE_ALIGNMENT))) char memory[228 << 10];
    return memory + sizeof(Chunk);
}

inline uint32_t shared_address(const void *p) { return (uint32_t)(uintptr_t)p; }

// How many arrivals end a phase, what is awaited of this one, and its number.
struct Barrier {
    unsigned arrivals, awaited, phase;
    int awaited_bytes;
};

inline void pass(Barrier *barrier, unsigned arrivals, int bytes) {
    barrier->awaited -= arrivals;
    barrier->awaited_bytes -= bytes;
    if (barrier->awaited == 0 && barrier->awaited_bytes == 0) {
        barrier->awaited = barrier->arrivals;
        barrier->phase++;
    }
}

inline void create(Barrier *barrier, unsigned arrivals) { *barrier = {arrivals, arrivals, 0, 0}; }
inline void arrive(Barrier *barrier) { pass(barrier, 1, 0); }
inline void arrive_and_expect(Barrier *barrier, unsigned bytes) {
    barrier->awaited_bytes += bytes;
    arrive(barrier);
}
inline void await(Barrier *barrier, unsigned parity) {
    wait_until([=] {
        let_arrive(barrier);
        return barrier->phase % 2 != parity;
    });
}

// Where a byte lies by the permutation of chunks.
inline char *permuted(const void *at) {
    return (char *)((uintptr_t)at ^ (uintptr_t)at / (COLUMNS * sizeof(bf16)) % 8 * sizeof(Chunk));
}

// A row of a tile; zeros, where it is not `inside`.
inline void copy_row(Chunk *to, const TileMap &map, const char *row, bool inside) {
    for (unsigned x = 0; x < map.tile[0] / CHUNK; x++) {
        *(Chunk *)permuted(to + x) = inside ? ((const Chunk *)row)[x] : Chunk{};
    }
}

inline void begin_copy(void *to, const TileMap *from, Barrier *barrier, int column, int head,
                       int row, int item) {
    assert((uintptr_t)to % TILE_ALIGNMENT == 0);
    begin_arriving(barrier, [=, map = *from] {
        const uint64_t *steps = map.steps_bytes;
        const char *rows = map.values + column * steps[0] + head * steps[1] + item * steps[3];
        unsigned row_chunks = COLUMNS / CHUNK;
        for (unsigned y = 0; y < map.tile[2]; y++) {
            bool inside = row + y < map.sizes[2];
            copy_row((Chunk *)to + y * row_chunks, map, rows + (row + y) * steps[2], inside);
        }
        pass(barrier, 0, map.tile[2] * row_chunks * sizeof(Chunk));
    });
}

template <int COUNT> void give_registers() {}
template <int COUNT> void take_registers() {}
template <int N> void pin(float (&)[N]) {}
inline void publish() {}
inline void begin_products() {}
inline void end_products() {}
inline void await_products() { await_all_products(); }
inline void await_earlier_products() { await_all_products(); }

// A place in a tile, and how many bytes on from there the next 64 columns are.
struct Place {
    const char *at;
    unsigned next_columns_bytes;
};
inline Place described(const bf16 *place, unsigned next_columns_bytes) {
    return {(const char *)place, next_columns_bytes};
}
inline Place onward(Place place, unsigned bytes) {
    return {place.at + bytes, place.next_columns_bytes};
}

// The value so many rows and columns on.
inline float value_at(Place place, unsigned row, unsigned column) {
    const char *at = place.at + row / 8 * EIGHT_ROWS_BYTES + row % 8 * COLUMNS * sizeof(bf16);
    at += column / COLUMNS * place.next_columns_bytes + column % COLUMNS * sizeof(bf16);
    return *(const bf16 *)permuted(at);
}

// The two rows of a matrix (64x16) from which a thread's sums come.
struct TwoRows {
    float at[2][16];
};

template <class Matrix> void add_products(float (&sums)[64], const TwoRows &a, Matrix b) {
    for (unsigned i = 0; i < 64; i++) {
        unsigned column = i / 4 * 8 + lane() % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 16; k++) sums[i] += a.at[i / 2 % 2][k] * b(k, column);
    }
}

inline void begin_multiply(float (&sums)[64], Place a, Place b, bool add) {
    unsigned first_row = threadIdx.x % WARPGROUP / WARP * 16 + lane() / 4;
    begin_product([=, &sums] {
        TwoRows rows;
        for (unsigned i = 0; i < 32; i++) {
            rows.at[i / 16][i % 16] = value_at(a, first_row + i / 16 * 8, i % 16);
        }
        for (unsigned i = 0; i < 64 && !add; i++) sums[i] = 0.0f;
        add_products(sums, rows, [=](unsigned k, unsigned n) { return value_at(b, n, k); });
    });
}

inline void begin_multiply_add(float (&sums)[64], uint4 a, Place b) {
    const Handed *row = of_warp(a) + lane() / 4 * 4;
    TwoRows rows;
    for (unsigned i = 0; i < 32; i++) {
        const uint32_t *quarters = row[i % 8 / 2].as<const uint32_t[4]>();
        uint32_t pair = quarters[i / 16 + i % 16 / 8 * 2];
        rows.at[i / 16][i % 16] = i % 2 ? second_of(pair) : first_of(pair);
    }
    begin_product([=, &sums] {
        add_products(sums, rows, [=](unsigned k, unsigned n) { return value_at(b, k, n); });
    });
}

#endif

// What a block has in the memory that its launch asks for, which is TILE_ALIGNMENT bytes more.
template <class T> __device__ T &asked() {
    char *memory = asked_memory();
    return *(T *)(memory + (0 - shared_address(memory)) % TILE_ALIGNMENT);
}

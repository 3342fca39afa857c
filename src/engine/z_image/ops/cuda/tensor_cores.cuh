// The instructions of a card's tensor cores, and those that bring values to them, from compute
// capability 8.0 on. The 32 threads of a warp call each of them together. Where no card's compiler
// reads this, plain C++ does the same for the simulated card of tools/gpu/simulator.
//
// Source: PTX ISA, "mma.m16n8k16 with floating point type", "mma.m16n8k32", "ldmatrix", "cp.async",
// "ex2".
#pragma once

#include "values.cuh"

#ifdef __CUDACC__

// Four matrices of 8x8 values from shared memory. Thread 8 m + r names row r of matrix m; word m of
// the result is columns 2 (lane % 4) and the next one of row lane / 4 of matrix m.
__device__ uint4 load_matrices(const Chunk *row) {
    uint4 out;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
    return out;
}

// The same, but each matrix transposed.
__device__ uint4 load_transposed_matrices(const Chunk *row) {
    uint4 out;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
    return out;
}

// sums (16x8) += a (16x16) b (16x8). `a` has the quarters of its matrix above each other first,
// `low` and `high` the halves of b, transposed. A thread's sums are columns 2 (lane % 4) and the
// next one of row lane / 4, then of the row 8 below.
__device__ void multiply_add(float (&sums)[4], uint4 a, uint32_t low, uint32_t high) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(low), "r"(high));
}

// The same of signed bytes: sums (16x8) += a (16x32) b (32x8). A word is four neighbours of a row
// of `a`, or of a column of b.
__device__ void multiply_add(int (&sums)[4], uint4 a, uint32_t low, uint32_t high) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(low), "r"(high));
}

// Begins to copy a chunk to shared memory, or zeros if it is not `inside` (it is not read then).
__device__ void begin_copy(Chunk *to, const Chunk *from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(to)),
                 "l"(from), "r"(inside ? 16 : 0)
                 : "memory");
}

// Makes a group of the copies that this thread began since the last one.
__device__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Returns when all groups of this thread are copied but the `LATER` last ones.
template <int LATER> __device__ void await_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}

// 2^x, to about 22 bits; results below the normal numbers are 0.
__device__ float power_of_two(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

#else

inline uint4 load_matrices(const Chunk *row) {
    const Handed *rows = of_warp(row);
    unsigned lane = threadIdx.x % WARP;
    uint32_t words[4];
    for (unsigned m = 0; m < 4; m++) {
        const bf16 *values = (const bf16 *)rows[8 * m + lane / 4].as<const Chunk *>();
        words[m] = packed(values[lane % 4 * 2], values[lane % 4 * 2 + 1]);
    }
    return {words[0], words[1], words[2], words[3]};
}

inline uint4 load_transposed_matrices(const Chunk *row) {
    const Handed *rows = of_warp(row);
    unsigned lane = threadIdx.x % WARP;
    uint32_t words[4];
    for (unsigned m = 0; m < 4; m++) {
        const Handed *pair = rows + 8 * m + lane % 4 * 2;
        words[m] = packed(((const bf16 *)pair[0].as<const Chunk *>())[lane / 4],
                          ((const bf16 *)pair[1].as<const Chunk *>())[lane / 4]);
    }
    return {words[0], words[1], words[2], words[3]};
}

// What one thread has of both matrices.
struct Fragments {
    uint32_t a[4], b[2];
};

inline void multiply_add(float (&sums)[4], uint4 a, uint32_t low, uint32_t high) {
    const Handed *warp = of_warp(Fragments{{a.x, a.y, a.z, a.w}, {low, high}});
    unsigned lane = threadIdx.x % WARP;
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 16; k++) {
            unsigned pair = k % 8 / 2;
            const Fragments &of_row = warp[row % 8 * 4 + pair].as<Fragments>();
            const Fragments &of_column = warp[column * 4 + pair].as<Fragments>();
            uint32_t a_pair = of_row.a[row / 8 + k / 8 * 2], b_pair = of_column.b[k / 8];
            sums[i] += k % 2 ? second_of(a_pair) * second_of(b_pair)
                             : first_of(a_pair) * first_of(b_pair);
        }
    }
}

inline void multiply_add(int (&sums)[4], uint4 a, uint32_t low, uint32_t high) {
    const Handed *warp = of_warp(Fragments{{a.x, a.y, a.z, a.w}, {low, high}});
    unsigned lane = threadIdx.x % WARP;
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 32; k++) {
            unsigned four = k % 16 / 4, shift = k % 4 * 8;
            uint32_t of_row = warp[row % 8 * 4 + four].as<Fragments>().a[row / 8 + k / 16 * 2];
            uint32_t of_column = warp[column * 4 + four].as<Fragments>().b[k / 16];
            sums[i] += (int8_t)(of_row >> shift) * (int8_t)(of_column >> shift);
        }
    }
}

inline void begin_copy(Chunk *to, const Chunk *from, bool inside) {
    copy_async(to, inside ? from : nullptr, sizeof(Chunk));
}
inline void end_group() { end_copies(); }
template <int LATER> void await_groups() { await_copies(LATER); }

inline float power_of_two(float x) { return exp2f(x); }

#endif

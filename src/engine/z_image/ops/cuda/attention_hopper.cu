// softmax(q k^T * scale) v for heads of 128, as attention.cu computes it, by the instructions that
// compute capability 9.0 has alone.
//
// A block has 192 queries of one head, 64 for each of three warpgroups, and passes over the keys in
// tiles of 128. While a warpgroup makes weights of its scores, the products of the other two keep
// the tensor cores busy. A fourth warpgroup leaves its registers to them; one of its threads begins
// the copies of the tiles, two tiles ahead. A tile's rows are copied as two halves of 64 columns.
// Sources: Shah et al. 2024, "FlashAttention-3"; Spector et al. 2024, "ThunderKittens".

#include "hopper.cuh"
#include "softmax.cuh"

const int DIM = 128;
const int HALVES = DIM / COLUMNS;
const int GROUPS = 3;
const int THREADS = (GROUPS + 1) * WARPGROUP;
const int GROUP_QUERIES = 64;
const int KEYS = 128;
const int STAGES = 2;

// All registers of a multiprocessor, as far as they are given out in eights.
const int REGISTERS = 160, REGISTERS_OF_COPIES = 32;

template <int ROWS> struct alignas(TILE_ALIGNMENT) Tile {
    bf16 halves[HALVES][ROWS * COLUMNS];
};

// Tiles of which each is here or free.
struct Stages {
    Tile<KEYS> tiles[STAGES];
    Barrier here[STAGES], free[STAGES];
};

struct Shared {
    Tile<GROUP_QUERIES> queries[GROUPS];
    Stages keys, values;
    Barrier queries_here;
};
static_assert(sizeof(Shared) + TILE_ALIGNMENT == 180 << 10, "attention.rs asks for other memory");

__device__ void create(Stages &stages) {
    for (int i = 0; i < STAGES; i++) {
        create(&stages.here[i], 1);
        create(&stages.free[i], GROUPS * WARPGROUP / WARP);
    }
}

template <int ROWS>
__device__ void begin_copy(Tile<ROWS> &to, const TileMap *from, Barrier *here, int row) {
    for (int half = 0; half < HALVES; half++) {
        begin_copy(to.halves[half], from, here, half * COLUMNS, blockIdx.y, row, blockIdx.z);
    }
}

// Copies tile `tile` of keys or values as soon as there is room for it.
__device__ void begin_copy(Stages &to, const TileMap *from, unsigned tile) {
    unsigned stage = tile % STAGES, round = tile / STAGES;
    await(&to.free[stage], (round + 1) % 2);
    arrive_and_expect(&to.here[stage], sizeof(Tile<KEYS>));
    begin_copy(to.tiles[stage], from, &to.here[stage], tile * KEYS);
}

// One thread's work.
__device__ void copy_all(Shared &shared, const TileMap *q, const TileMap *k,
                         const TileMap *v, unsigned tiles) {
    arrive_and_expect(&shared.queries_here, sizeof shared.queries);
    for (int group = 0; group < GROUPS; group++) {
        int row = (blockIdx.x * GROUPS + group) * GROUP_QUERIES;
        begin_copy(shared.queries[group], q, &shared.queries_here, row);
    }
    for (unsigned tile = 0; tile < tiles; tile++) {
        begin_copy(shared.keys, k, tile);
        begin_copy(shared.values, v, tile);
    }
}

// Says that this warp has no use for the tile any more.
__device__ void release(Barrier *free) {
    if (threadIdx.x % WARP == 0) arrive(free);
}

// The products of the warpgroup's queries and a tile of keys: row and column as begin_multiply has
// them.
__device__ void score(float (&scores)[KEYS / 2], const Tile<GROUP_QUERIES> &queries,
                      const Tile<KEYS> &keys) {
    Place query_place = described(queries.halves[0], 0), key_place = described(keys.halves[0], 0);
    begin_products();
#pragma unroll
    for (int step = 0; step < DIM / 16; step++) {
        int half = step * 16 / COLUMNS, column_bytes = step * 16 % COLUMNS * sizeof(bf16);
        Place a = onward(query_place, half * sizeof queries.halves[0] + column_bytes);
        Place b = onward(key_place, half * sizeof keys.halves[0] + column_bytes);
        begin_multiply(scores, a, b, step > 0);
    }
    end_products();
    await_products();
    pin(scores);
}

// Adds a tile's values, by their weights.
__device__ void add_values(float (&out)[DIM / 2], const float (&weights)[KEYS / 2],
                           const Tile<KEYS> &values) {
    // All of them first, so that the products follow each other at once.
    uint4 quarters[KEYS / 16];
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        const float *w = &weights[8 * step];
        quarters[step] = {packed(w[0], w[1]), packed(w[2], w[3]), packed(w[4], w[5]),
                          packed(w[6], w[7])};
    }
    Place place = described(values.halves[0], sizeof values.halves[0]);
    begin_products();
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++) {
        begin_multiply_add(out, quarters[step], onward(place, step * 2 * EIGHT_ROWS_BYTES));
    }
    end_products();
    await_products();
    pin(out);
}

// A warpgroup's work. `scale` has log2(e) in it, and is positive.
__device__ void attend(Shared &shared, unsigned group, bf16 *out, unsigned queries, unsigned keys,
                       float scale) {
    Results<DIM> results = no_results<DIM>();
    await(&shared.queries_here, 0);
    for (unsigned start = 0, tile = 0; start < keys; start += KEYS, tile++) {
        unsigned stage = tile % STAGES, parity = tile / STAGES % 2, left = keys - start;
        float weights[KEYS / 2];
        await(&shared.keys.here[stage], parity);
        score(weights, shared.queries[group], shared.keys.tiles[stage]);
        release(&shared.keys.free[stage]);
        if (left < KEYS) hide_from(weights, left);
        weigh(weights, results, scale);
        await(&shared.values.here[stage], parity);
        add_values(results.out, weights, shared.values.tiles[stage]);
        release(&shared.values.free[stage]);
    }
    unsigned first = (blockIdx.x * GROUPS + group) * GROUP_QUERIES;
    if (first < queries) {
        size_t stride = gridDim.y * DIM;
        out += ((size_t)blockIdx.z * queries + first) * stride + blockIdx.y * DIM;
        unsigned first_row = threadIdx.x % WARPGROUP / WARP * 16 + threadIdx.x % WARP / 4;
        write(out, results, stride, first_row, queries - first);
    }
}

// q and out are (b, queries, heads, DIM), k and v (b, keys, heads, DIM). The maps of q, k and v
// have items, rows, heads and columns, in tiles of 64 columns of one head, and of GROUP_QUERIES or
// KEYS rows. Block (queries, head, item).
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    attention_hopper(const __grid_constant__ TileMap q, const __grid_constant__ TileMap k,
                     const __grid_constant__ TileMap v, bf16 *out, uint32_t queries,
                     uint32_t keys, float scale) {
    Shared &shared = asked<Shared>();
    if (threadIdx.x == 0) {
        create(&shared.queries_here, 1);
        create(shared.keys);
        create(shared.values);
        publish();
    }
    __syncthreads();
    // The same in all threads of a warp, which the compiler does not see of a division.
    unsigned group = __shfl_sync(0xffffffff, threadIdx.x / WARPGROUP, 0);
    if (group < GROUPS) {
        take_registers<REGISTERS>();
        attend(shared, group, out, queries, keys, scale);
    } else {
        give_registers<REGISTERS_OF_COPIES>();
        if (threadIdx.x % WARPGROUP == 0) copy_all(shared, &q, &k, &v, (keys + KEYS - 1) / KEYS);
    }
}

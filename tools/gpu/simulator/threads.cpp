// Runs kernels: block after block, and in a block thread after thread, each until it ends or waits for the others.
#include <deque>
#include <map>

#include "card.h"

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {
constexpr unsigned THREADS_MAX = 1024;
constexpr size_t STACK_BYTES = 64 << 10;
/// A thread that lets the others run first is idle for one turn.
constexpr unsigned IDLE_TURNS_MAX = 2;

/// Whether copies that a thread does not wait for are made when it waits for them, or else at once; and whether the last
/// warps run first.
const bool late = getenv("SIM_ORDER") && !strcmp(getenv("SIM_ORDER"), "lazy");

[[noreturn]] void fail(const char *words) {
    fprintf(stderr, "simulated card: %s\n", words);
    abort();
}

std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

// Keeps what a call must keep on the stack of `from`, and goes on where `to` was left.
extern "C" void switch_stack(void **from, void *to);
asm(R"(
.text
switch_stack:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");
constexpr int KEPT_REGISTERS = 6;

/// A thread with a stack of its own.
struct Fiber {
    void *stack;
    dim3 index;
    bool ended, at_barrier;
    /// What it waits for, where it waits for other warps but not for all of them.
    std::function<bool()> awaited;

    bool can_run() const { return !ended && !at_barrier && (!awaited || awaited()); }
};

/// A copy of the group of this number; zeros, where there is no `from`.
struct Copy {
    void *to;
    const void *from;
    size_t bytes;
    unsigned group;

    void make() const { from ? memcpy(to, from, bytes) : memset(to, 0, bytes); }
};

/// The block whose threads run together: a warp after the other, each as far as the barrier lets it, so that what a missing
/// barrier would allow happens. In each round every thread of the warp runs until it waits.
struct Block {
    char *stacks = (char *)aligned_alloc(4096, THREADS_MAX * STACK_BYTES);
    Fiber fibers[THREADS_MAX];
    const Thread *thread;
    void *scheduler;
    unsigned current, live, round;
    /// What the threads hand to each other, in even rounds and in odd ones.
    Handed handed[2][THREADS_MAX];
    /// What each thread has begun to copy and not awaited, and how many groups it has ended.
    std::deque<Copy> copies[THREADS_MAX];
    unsigned groups[THREADS_MAX];
    /// The products that it has begun and not awaited.
    std::deque<std::function<void()>> products[THREADS_MAX];
    /// Copies that no thread awaits by itself, by what they arrive at, where they were not made at once.
    std::map<const void *, std::deque<std::function<void()>>> arriving;
    /// How often all warps had their turn.
    unsigned turn;
} block;

void yield() { switch_stack(&block.fibers[block.current].stack, block.scheduler); }

void run_fiber() {
    (*block.thread)();
    block.fibers[block.current].ended = true;
    yield();
}

/// Puts on the fiber's stack what switch_stack takes from it.
void begin(unsigned i) {
    void **top = (void **)(block.stacks + (i + 1) * STACK_BYTES);
    *--top = nullptr;
    *--top = (void *)run_fiber;
    for (int kept = 0; kept < KEPT_REGISTERS; kept++) *--top = nullptr;
    block.fibers[i] = {top, {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y}, false, false, nullptr};
}

void resume(unsigned i) {
    block.current = i;
    threadIdx = block.fibers[i].index;
    switch_stack(&block.scheduler, block.fibers[i].stack);
    if (block.fibers[i].ended) block.live--;
}

bool run_warp(unsigned first, unsigned end) {
    bool ran = false;
    for (bool runs = true; runs; block.round++) {
        runs = false;
        for (unsigned i = first; i < end; i++) {
            if (!block.fibers[i].can_run()) continue;
            resume(i);
            runs = ran = true;
        }
    }
    return ran;
}

/// Lets those at the barrier on, where all that live are there.
bool pass_barrier(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) {
        if (!block.fibers[i].ended && !block.fibers[i].at_barrier) return false;
    }
    for (unsigned i = 0; i < threads; i++) block.fibers[i].at_barrier = false;
    return true;
}

void run_together(const Thread &thread) {
    unsigned threads = blockDim.x * blockDim.y * blockDim.z, warps = (threads + WARP_THREADS - 1) / WARP_THREADS;
    block.thread = &thread;
    block.live = threads;
    block.round = block.turn = 0;
    block.arriving.clear();
    for (unsigned i = 0; i < threads; i++) {
        begin(i);
        block.copies[i].clear();
        block.groups[i] = 0;
        block.products[i].clear();
    }
    for (unsigned idle = 0; block.live; block.turn++) {
        bool ran = false;
        for (unsigned i = 0; i < warps; i++) {
            unsigned first = (late ? warps - 1 - i : i) * WARP_THREADS;
            ran |= run_warp(first, std::min(first + WARP_THREADS, threads));
        }
        idle = pass_barrier(threads) || ran ? 0 : idle + 1;
        if (idle > IDLE_TURNS_MAX) fail("the threads of a block wait for each other");
    }
}

void run_apart(const Thread &thread) {
    for (threadIdx.z = 0; threadIdx.z < blockDim.z; threadIdx.z++)
        for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) thread();
}
}  // namespace

/// Ends the program where kernels.py did not see that a kernel's threads wait for each other.
static void must_run_together() {
    if (!block.live) fail("a thread waits in a kernel whose threads run apart");
}

void __syncthreads() {
    must_run_together();
    block.fibers[block.current].at_barrier = true;
    yield();
}

unsigned lane() { return block.current % WARP_THREADS; }

const Handed *of_warp(const void *value, size_t bytes) {
    must_run_together();
    Handed *all = block.handed[block.round % 2];
    unsigned self = block.current;
    memcpy(all[self].bytes, value, bytes);
    yield();
    return all + self / WARP_THREADS * WARP_THREADS;
}

void copy_async(void *to, const void *from, size_t bytes) {
    must_run_together();
    if ((uintptr_t)to % bytes || (uintptr_t)from % bytes) fail("a copy begins where none of its size can");
    Copy copy{to, from, bytes, block.groups[block.current]};
    late ? block.copies[block.current].push_back(copy) : copy.make();
}

void end_copies() { block.groups[block.current]++; }

void await_copies(unsigned later) {
    auto &copies = block.copies[block.current];
    while (!copies.empty() && copies.front().group + later < block.groups[block.current]) {
        copies.front().make();
        copies.pop_front();
    }
}

void wait_until(std::function<bool()> awaited) {
    must_run_together();
    if (awaited()) return;
    Fiber &self = block.fibers[block.current];
    self.awaited = std::move(awaited);
    yield();
    self.awaited = nullptr;
}

void begin_product(std::function<void()> product) {
    must_run_together();
    block.products[block.current].push_back(std::move(product));
}

void await_all_products() {
    // The other warps run meanwhile, and may overwrite what the products read.
    wait_until([turn = block.turn] { return block.turn != turn; });
    for (auto &product : block.products[block.current]) product();
    block.products[block.current].clear();
}

void begin_arriving(const void *at, std::function<void()> copy) {
    must_run_together();
    late ? block.arriving[at].push_back(std::move(copy)) : copy();
}

void let_arrive(const void *at) {
    for (auto &copy : block.arriving[at]) copy();
    block.arriving.erase(at);
}

void register_kernel(const char *name, bool barriers, Binder binder) { kernels()[name] = {name, barriers, binder}; }

const Kernel *find_kernel(const char *name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void run_grid(const Thread &thread, bool barriers, dim3 grid, dim3 threads) {
    size_t blocks = (size_t)grid.x * grid.y * grid.z;
#pragma omp parallel for if (!barriers)
    for (size_t i = 0; i < blocks; i++) {
        gridDim = grid, blockDim = threads;
        blockIdx = {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y)};
        barriers ? run_together(thread) : run_apart(thread);
    }
}

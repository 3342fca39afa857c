// Runs kernels: block after block, and in a block thread after thread, each until it ends or waits for the others.
#include <map>

#include "card.h"

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {
constexpr unsigned THREADS_MAX = 1024;
constexpr size_t STACK_BYTES = 64 << 10;

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
    bool ended;
};

/// The block whose threads run together. In each round every thread runs until it waits.
struct Block {
    char *stacks = (char *)aligned_alloc(4096, THREADS_MAX * STACK_BYTES);
    Fiber fibers[THREADS_MAX];
    const Thread *thread;
    void *scheduler;
    unsigned current, live, round;
    /// Threads at the barrier, and how often it has opened.
    unsigned arrived, opened;
    /// What the threads hand to each other, in even rounds and in odd ones.
    uint64_t handed[2][THREADS_MAX];
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
    block.fibers[i] = {top, {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y}, false};
}

void resume(unsigned i) {
    block.current = i;
    threadIdx = block.fibers[i].index;
    switch_stack(&block.scheduler, block.fibers[i].stack);
    if (block.fibers[i].ended) block.live--;
}

void run_together(const Thread &thread) {
    unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    block.thread = &thread;
    block.live = threads;
    block.arrived = block.round = 0;
    for (unsigned i = 0; i < threads; i++) begin(i);
    for (; block.live; block.round++) {
        for (unsigned i = 0; i < threads; i++)
            if (!block.fibers[i].ended) resume(i);
        // Between rounds, so that the threads of a warp leave the barrier in step.
        if (block.arrived == block.live) block.arrived = 0, block.opened++;
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
    if (block.live) return;
    fputs("simulated card: a thread waits in a kernel whose threads run apart\n", stderr);
    abort();
}

void __syncthreads() {
    must_run_together();
    unsigned opened = block.opened;
    block.arrived++;
    while (block.opened == opened) yield();
}

uint64_t shuffle_xor(uint64_t value, int mask) {
    must_run_together();
    unsigned parity = block.round % 2, self = block.current;
    block.handed[parity][self] = value;
    yield();
    return block.handed[parity][self ^ mask];
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

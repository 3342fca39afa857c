// The driver's interface over memory of the host. Streams are queues; when what is in them runs is set by SIM_ORDER, so
// that an order which the program does not enforce can be had against it.
#include <cuda.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "card.h"
#include "pool.h"

namespace {
struct Stream;
/// A point in a stream that was or will be passed.
struct Record {
    Stream *stream;
    bool passed;
};
/// Work, or a wait for a point in another stream.
struct Op {
    std::function<void()> work;
    std::shared_ptr<Record> awaited;
};
struct Stream {
    std::deque<Op> ops;
    /// Made by the program; candle's is the thread's own.
    bool created = false;
};
struct Event {
    std::shared_ptr<Record> last;
};
struct Module {
    std::string ptx;
};
/// Memory that was given out.
struct Block {
    Stream *stream;
    size_t bytes;
};

/// Memory is locked in whole pages of the host.
constexpr uint64_t PAGE = 4096;
/// More work than this does not wait in a stream.
constexpr size_t QUEUE_MAX = 4096;

std::recursive_mutex guard;
Pool pool;
std::map<uint64_t, Block> blocks;
std::map<uint64_t, size_t> pinned;
size_t pinned_bytes = 0;
std::map<std::string, double> counts;
size_t launches = 0, allocations = 0;
int sick_with = 0;

size_t setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 0) : otherwise;
}
const size_t card_bytes = setting("SIM_CARD_BYTES", (size_t)24 << 30);
const size_t taken_bytes = std::min(card_bytes, setting("SIM_TAKEN_BYTES", (size_t)400 << 20));
const size_t failing_allocation = setting("SIM_OUT_OF_MEMORY", 0);
const size_t pinned_bytes_max = setting("SIM_PINNED_BYTES", SIZE_MAX);
const int capability = (int)setting("SIM_CAPABILITY", 86);
const bool registers = setting("SIM_REGISTERS", 1);
const bool dry = setting("SIM_DRY", 0);
const std::string order = getenv("SIM_ORDER") ? getenv("SIM_ORDER") : "eager";

/// The null stream and the thread's own are one: nothing here is asked of the first.
Stream *stream_of(void *handle) {
    thread_local Stream own;
    return (uintptr_t)handle > 2 ? (Stream *)handle : &own;
}

void run_next(Stream *stream) {
    Op op = std::move(stream->ops.front());
    while (op.awaited && !op.awaited->passed) run_next(op.awaited->stream);
    stream->ops.pop_front();
    if (op.work) op.work();
}

void drain(Stream *stream) {
    while (!stream->ops.empty()) run_next(stream);
}

void append(Stream *stream, Op op) {
    stream->ops.push_back(std::move(op));
    bool first = order == "eager" || order == (stream->created ? "copies-first" : "copies-last");
    if (first || stream->ops.size() > QUEUE_MAX) drain(stream);
}

bool is_pinned(const void *at) {
    auto after = pinned.upper_bound((uint64_t)at);
    if (after == pinned.begin()) return false;
    auto [start, bytes] = *std::prev(after);
    return (uint64_t)at < start + bytes;
}

bool may_pin(size_t bytes) { return bytes <= pinned_bytes_max - pinned_bytes; }

void pin(void *at, size_t bytes) {
    pinned[(uint64_t)at] = bytes;
    pinned_bytes += bytes;
    count("pinned_bytes", bytes);
}

/// How many bytes were pinned there; 0 where none were.
size_t unpin(void *at) {
    auto block = pinned.find((uint64_t)at);
    if (block == pinned.end()) return 0;
    size_t bytes = block->second;
    pinned_bytes -= bytes;
    pinned.erase(block);
    return bytes;
}

/// Appends a line to SIM_COUNTS, and starts again.
void report() {
    const char *path = getenv("SIM_COUNTS");
    FILE *file = path && !counts.empty() ? fopen(path, "a") : nullptr;
    if (!file) return;
    fprintf(file, "{\"used_high\": %zu, \"reserved\": %zu", pool.high, pool.reserved);
    for (auto &[what, by] : counts) fprintf(file, ", \"%s\": %.0f", what.c_str(), by);
    fprintf(file, "}\n");
    fclose(file);
    counts.clear();
}
struct AtExit {
    ~AtExit() { report(); }
} at_exit;

/// Numbers below 1 in f32 and in bf16: in a dry run the picture must not be flat.
void invent(void *to, size_t bytes) {
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t word = 0x3e000000 | (uint32_t)(i * 2654435761u) >> 8;
        memcpy((char *)to + i, &word, 4);
    }
}

/// Ends the program where a kernel has written beyond the block's end.
void check_end(uint64_t at, size_t bytes) {
    for (size_t i = bytes; i % Pool::ALIGN; i++) {
        if (((unsigned char *)at)[i] == 0xff) continue;
        fprintf(stderr, "simulated card: something was written behind a block of %zu bytes\n", bytes);
        abort();
    }
}
}  // namespace

#define ENTER                                             \
    std::lock_guard<std::recursive_mutex> entered(guard); \
    if (CUresult error = (CUresult)sick()) return error;

void enqueue(void *stream, std::function<void()> work) {
    std::lock_guard<std::recursive_mutex> entered(guard);
    if (!dry) append(stream_of(stream), {std::move(work), nullptr});
}

void count(const std::string &what, double by) { counts[what] += by; }

int sick() {
    static const char *fault = getenv("SIM_FAULT");
    if (fault && launches >= strtoull(fault, nullptr, 10)) sick_with = atoi(strchr(fault, ':') + 1);
    return sick_with;
}

extern "C" {
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *number) {
    *number = 1;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    *device = 0;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int length, CUdevice) {
    snprintf(name, length, "simulated card");
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice) {
    *bytes = card_bytes;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = capability / 10; return CUDA_SUCCESS;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = capability % 10; return CUDA_SUCCESS;
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; return CUDA_SUCCESS;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) {
    *context = (CUcontext)1;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = (CUcontext)1;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    ENTER
    count("looks at what is free", 1);
    *total = card_bytes;
    *free = card_bytes - taken_bytes - pool.reserved;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *handle, CUdevice) {
    *handle = (CUmemoryPool)&pool;
    return CUDA_SUCCESS;
}
CUresult cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void *value) {
    ENTER
    switch (attribute) {
        case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *(uint64_t *)value = pool.used; return CUDA_SUCCESS;
        case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *(uint64_t *)value = pool.high; return CUDA_SUCCESS;
        case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *(uint64_t *)value = pool.reserved; return CUDA_SUCCESS;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
}
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void *value) {
    ENTER
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
        pool.release_threshold = *(uint64_t *)value;
        return CUDA_SUCCESS;
    }
    if (attribute != CU_MEMPOOL_ATTR_USED_MEM_HIGH || *(uint64_t *)value != 0) return CUDA_ERROR_INVALID_VALUE;
    report();
    pool.high = pool.used;
    return CUDA_SUCCESS;
}
CUresult cuMemPoolTrimTo(CUmemoryPool, size_t keep) {
    ENTER
    pool.trim(keep);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr *at, size_t bytes, CUstream stream) {
    ENTER
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    count("allocations", 1);
    if (++allocations == failing_allocation) return CUDA_ERROR_OUT_OF_MEMORY;
    *at = pool.allocate(bytes, card_bytes - taken_bytes);
    if (!*at) return CUDA_ERROR_OUT_OF_MEMORY;
    blocks[*at] = {stream_of(stream), bytes};
    // What is read before it is written shows: it is no number.
    enqueue(stream, [at = *at, bytes] { memset((void *)at, 0xff, Pool::rounded(bytes)); });
    return CUDA_SUCCESS;
}
CUresult cuMemFreeAsync(CUdeviceptr at, CUstream stream) {
    ENTER
    auto block = blocks.find(at);
    if (block == blocks.end()) return CUDA_ERROR_INVALID_VALUE;
    // Its kernels may still be under way in the other stream.
    if (block->second.stream != stream_of(stream)) count("frees_in_another_stream", 1);
    enqueue(stream, [at, bytes = block->second.bytes] { check_end(at, bytes); });
    blocks.erase(block);
    pool.release(at);
    return CUDA_SUCCESS;
}
CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned) {
    ENTER
    *at = may_pin(bytes) ? map(bytes) : nullptr;
    if (!*at) return CUDA_ERROR_OUT_OF_MEMORY;
    pin(*at, bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void *at) {
    ENTER
    size_t bytes = unpin(at);
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    munmap(at, bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemHostRegister_v2(void *at, size_t bytes, unsigned) {
    ENTER
    if (!registers) return CUDA_ERROR_NOT_SUPPORTED;
    if ((uint64_t)at % PAGE || is_pinned(at)) return CUDA_ERROR_INVALID_VALUE;
    if (!may_pin(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    pin(at, bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemHostUnregister(void *at) {
    ENTER
    return unpin(at) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    ENTER
    count("copies_to_device", 1);
    count("bytes_to_device", bytes);
    if (!pool.holds(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
    if (dry) return CUDA_SUCCESS;
    // Memory that is not pinned may be written again as soon as this returns; pinned memory is read when the copy runs.
    auto staged = std::make_shared<std::string>(is_pinned(from) ? "" : std::string((const char *)from, bytes));
    enqueue(stream, [=] { memcpy((void *)to, staged->empty() ? from : staged->data(), bytes); });
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER
    count("copies_to_host", 1);
    count("bytes_to_host", bytes);
    if (!pool.holds(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
    drain(stream_of(stream));
    dry ? invent(to, bytes) : (void)memcpy(to, (void *)from, bytes);
    return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER
    count("copies_on_device", 1);
    count("bytes_on_device", bytes);
    if (!pool.holds(to, bytes) || !pool.holds(from, bytes)) return CUDA_ERROR_INVALID_VALUE;
    enqueue(stream, [=] { memmove((void *)to, (void *)from, bytes); });
    return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
    ENTER
    if (!pool.holds(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
    enqueue(stream, [=] { memset((void *)to, value, bytes); });
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *handle, unsigned) {
    ENTER
    auto *stream = new Stream;
    stream->created = true;
    *handle = (CUstream)stream;
    return CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream handle) {
    ENTER
    drain(stream_of(handle));
    delete (Stream *)handle;
    return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream handle) {
    ENTER
    count("synchronisations", 1);
    drain(stream_of(handle));
    if (pool.reserved > pool.release_threshold) pool.trim(pool.release_threshold);
    return CUDA_SUCCESS;
}
CUresult cuStreamIsCapturing(CUstream, CUstreamCaptureStatus *status) {
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
    ENTER
    count("waits", 1);
    // The last record as of now; without one there is nothing to wait for.
    if (auto last = ((Event *)event)->last) append(stream_of(handle), {nullptr, last});
    return CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent *event, unsigned) {
    ENTER
    count("events", 1);
    *event = (CUevent) new Event;
    return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent event) {
    ENTER
    delete (Event *)event;
    return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream handle) {
    ENTER
    Stream *stream = stream_of(handle);
    auto record = std::make_shared<Record>(Record{stream, false});
    ((Event *)event)->last = record;
    append(stream, {[=] { record->passed = true; }, nullptr});
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
    ENTER
    count("waits of the host", 1);
    if (auto last = ((Event *)event)->last)
        while (!last->passed) run_next(last->stream);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *ptx) {
    ENTER
    *module = (CUmodule) new Module{(const char *)ptx};
    return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) {
    ENTER
    delete (Module *)module;
    return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    ENTER
    bool compiled = ((Module *)module)->ptx.find(".entry " + std::string(name) + "(") != std::string::npos;
    *function = (CUfunction)find_kernel(name);
    return compiled && *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned, CUstream stream, void **params, void **) {
    ENTER
    auto *kernel = (const Kernel *)function;
    dim3 grid{gx, gy, gz}, threads{bx, by, bz};
    launches++;
    count("launches", 1);
    count("launches of " + kernel->name, 1);
    count("threads of " + kernel->name, (double)gx * gy * gz * bx * by * bz);
    bool empty = !gx || !gy || !gz || !bx || !by || !bz;
    if (empty || gx > INT32_MAX || gy > 65535 || gz > 65535 || (size_t)bx * by * bz > 1024) return CUDA_ERROR_INVALID_VALUE;
    enqueue(stream, [=, thread = kernel->binder(params)] { run_grid(thread, kernel->barriers, grid, threads); });
    return CUDA_SUCCESS;
}

// More memory for a block than it has without asking.
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *values, const cuuint64_t *sizes,
                                const cuuint64_t *steps_bytes, const cuuint32_t *tile, const cuuint32_t *, CUtensorMapInterleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
    bool known = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && rank == 4 && swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
    if (!known || (uintptr_t)values % 16 || tile[0] > 64 || tile[2] > 256) return CUDA_ERROR_INVALID_VALUE;
    static_assert(sizeof(TileMap) <= sizeof(CUtensorMap));
    auto *tiles = new (map) TileMap{(const char *)values, {}, {2}, {}};
    std::copy_n(sizes, 4, tiles->sizes);
    std::copy_n(steps_bytes, 3, tiles->steps_bytes + 1);
    std::copy_n(tile, 4, tiles->tile);
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
    switch (error) {
        case CUDA_ERROR_INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case CUDA_ERROR_OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case CUDA_ERROR_INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
        case CUDA_ERROR_NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
        case CUDA_ERROR_ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
        default: *name = "CUDA_ERROR_UNKNOWN";
    }
    return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult error, const char **text) { return cuGetErrorName(error, text); }

// Linked by candle, and not called by what is run here.
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuMemFree_v2(CUdeviceptr) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuCtxDestroy_v2(CUcontext) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuCtxSynchronize() { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuMemcpyPeerAsync(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, size_t, CUstream) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuModuleLoad(CUmodule *, const char *) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuFuncGetAttribute(int *, CUfunction_attribute, CUfunction) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuEventQuery(CUevent) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult cuDriverGetVersion(int *) { return CUDA_ERROR_NOT_SUPPORTED; }
}

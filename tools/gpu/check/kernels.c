// Writes a line for each kernel that a CUDA program runs: its start and end in nanoseconds, and its name. The driver loads
// this library into every program that has it in CUDA_INJECTION64_PATH; KERNELS_FILE says where the lines go.
// Source: NVIDIA's CUPTI documentation, "CUPTI Activity API" and "CUDA injection".

#include <cupti.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FLUSH_US 200000
#define BUFFER_BYTES (32 << 10)

static FILE *lines;

static void check(CUptiResult result, const char *what) {
    const char *name = "";
    if (result == CUPTI_SUCCESS) return;
    cuptiGetResultString(result, &name);
    fprintf(stderr, "kernels.so: %s: %s\n", what, name);
}

static void give_buffer(uint8_t **buffer, size_t *size, size_t *most_records) {
    *size = BUFFER_BYTES;
    *most_records = 0;
    *buffer = aligned_alloc(8, BUFFER_BYTES);
}

static void take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t used) {
    (void)context, (void)stream, (void)size;
    CUpti_Activity *record = NULL;
    while (cuptiActivityGetNextRecord(buffer, used, &record) == CUPTI_SUCCESS) {
        if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
        CUpti_ActivityKernel10 *kernel = (CUpti_ActivityKernel10 *)record;
        fprintf(lines, "%llu %llu %s\n", (unsigned long long)kernel->start, (unsigned long long)kernel->end, kernel->name);
    }
    fflush(lines);
    free(buffer);
}

// The program may end without calling anyone, so that nothing waits for its end. Buffers are small because only those are
// handed over whose kernels have all ended.
static void *flush_for_ever(void *unused) {
    for (;;) {
        usleep(FLUSH_US);
        check(cuptiActivityFlushAll(0), "flush");
    }
    return unused;
}

int InitializeInjection(void) {
    const char *path = getenv("KERNELS_FILE");
    pthread_t thread;
    lines = path ? fopen(path, "a") : NULL;
    if (!lines) return 0;
    check(cuptiActivityRegisterCallbacks(give_buffer, take_buffer), "callbacks");
    check(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "kernels");
    return pthread_create(&thread, NULL, flush_for_ever, NULL) == 0;
}

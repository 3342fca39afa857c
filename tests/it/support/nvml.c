// A card's management library, as far as the program asks it: what a test has written into the file NVML is what
// it tells, a line of its own for each: temperature, power in watts, clock in MHz, and the bits of what slows it down.
// Its counter of energy counts that power from the first question on.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int nvmlReturn_t;
enum { SUCCESS = 0, NOT_SUPPORTED = 3, UNKNOWN = 999 };

static struct { unsigned temperature, watts, clock; unsigned long long slowed; } card;

static int look(void) {
    const char *path = getenv("NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    int read = fscanf(file, "%u %u %u %llu", &card.temperature, &card.watts, &card.clock, &card.slowed);
    fclose(file);
    return read == 4;
}

static nvmlReturn_t told(void) { return look() ? SUCCESS : NOT_SUPPORTED; }

nvmlReturn_t nvmlInit_v2(void) { return SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "580.0");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &card;
    return index == 0 ? SUCCESS : UNKNOWN;
}

// As the scripted engine calls its device.
nvmlReturn_t nvmlDeviceGetName(void *device, char *name, unsigned length) {
    snprintf(name, length, "fake");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    nvmlReturn_t known = told();
    *celsius = card.temperature;
    return known;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    nvmlReturn_t known = told();
    *milliwatts = card.watts * 1000;
    return known;
}

nvmlReturn_t nvmlDeviceGetClockInfo(void *device, int which, unsigned *mhz) {
    nvmlReturn_t known = told();
    *mhz = card.clock;
    return known;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits) {
    nvmlReturn_t known = told();
    *bits = card.slowed;
    return known;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    static double counted;
    static struct timespec last;
    struct timespec now;
    nvmlReturn_t known = told();
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = (now.tv_sec - last.tv_sec) + (now.tv_nsec - last.tv_nsec) / 1e9;
    if (last.tv_sec) counted += seconds * card.watts * 1000;
    last = now;
    *millijoules = (unsigned long long)counted;
    return known;
}

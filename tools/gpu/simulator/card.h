// What the parts of the simulated card share.
#pragma once
#include <functional>
#include <string>

#include "device.h"

struct Kernel {
    std::string name;
    /// Whether its threads wait for each other.
    bool barriers;
    Binder binder;
};
/// nullptr where there is none of this name.
const Kernel *find_kernel(const char *name);
void run_grid(const Thread &thread, bool barriers, dim3 grid, dim3 threads);

/// Appends work to a stream. In a dry run it is dropped.
void enqueue(void *stream, std::function<void()> work);
/// Adds to what is reported at the next reset of the peak.
void count(const std::string &what, double by);
/// The error that the device is in, which every call answers; 0 where it is well.
int sick();

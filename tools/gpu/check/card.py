"""The first NVIDIA card: what it is, what is free, and blocks of its memory that nobody else can have."""

import contextlib
import ctypes
import subprocess
import threading
import time

# A program that has ended gives its memory back within this.
SETTLE_S = 20
WATTS_EVERY_MS = 100


class Card:
    """Through the driver's library, so that nothing has to be installed."""

    def __init__(self):
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.device, self.context = ctypes.c_int(), ctypes.c_void_p()
        self.ask("cuInit", 0)
        self.ask("cuDeviceGet", ctypes.byref(self.device), 0)
        self.ask("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self.ask("cuCtxSetCurrent", self.context)
        self.all_free = self.free_bytes()

    def ask(self, function, *arguments):
        status = getattr(self.driver, function)(*arguments)
        if status != 0:
            raise RuntimeError(f"{function} failed with {status}")

    def free_bytes(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.ask("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    @contextlib.contextmanager
    def left(self, left_bytes):
        """Takes all memory but so much, and gives it back; False where there is not so much."""
        deadline = time.monotonic() + SETTLE_S
        while self.free_bytes() < self.all_free - (64 << 20) and time.monotonic() < deadline:
            time.sleep(0.2)
        size = self.free_bytes() - left_bytes
        if size <= 0:
            yield False
            return
        pointer = ctypes.c_uint64()
        self.ask("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        try:
            yield True
        finally:
            self.ask("cuMemFree_v2", pointer)


def name():
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]


class Watts:
    """The card's power while something runs, read by nvidia-smi."""

    def __enter__(self):
        query = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", f"-lms={WATTS_EVERY_MS}"]
        self.reader = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        self.readings = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        return self

    def read(self):
        for line in self.reader.stdout:
            with contextlib.suppress(ValueError):
                self.readings.append((time.time(), float(line)))

    def __exit__(self, *_):
        self.reader.terminate()
        self.thread.join(SETTLE_S)

    def between(self, start_s, end_s):
        """The mean from one time of the clock to another, in watts; None where nothing was read."""
        watts = [watt for at, watt in self.readings if start_s <= at <= end_s]
        return sum(watts) / len(watts) if watts else None

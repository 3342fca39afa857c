// The card's memory: chunks that the pool reserves, and blocks that it gives out of them.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>

/// Memory of the host whose pages are had when they are touched; nullptr when there is none.
inline void *map(size_t bytes) {
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? nullptr : at;
}

class Pool {
public:
    static constexpr size_t ALIGN = 512, PAGE = 2 << 20, CHUNK = 32 << 20;

    size_t used = 0, high = 0, reserved = 0, release_threshold = 0;

    static size_t rounded(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

    /// 0 when the pool would have to reserve more than `limit`.
    uint64_t allocate(size_t bytes, size_t limit) {
        size_t size = rounded(bytes);
        uint64_t at = take(size);
        if (!at && grow(size, limit)) at = take(size);
        if (!at) return 0;
        used += size;
        high = std::max(high, used);
        return at;
    }

    void release(uint64_t at) {
        auto block = blocks.find(at);
        size_t size = block->second;
        blocks.erase(block);
        used -= size;
        // With the gaps beside it in the same chunk.
        auto after = gaps.upper_bound(at);
        if (after != gaps.end() && after->first == at + size && chunk_of(after->first) == chunk_of(at)) {
            size += after->second;
            after = gaps.erase(after);
        }
        if (after != gaps.begin()) {
            auto before = std::prev(after);
            if (before->first + before->second == at && chunk_of(before->first) == chunk_of(at)) {
                before->second += size;
                return;
            }
        }
        gaps[at] = size;
    }

    /// Gives chunks that hold nothing back to the card, until at most `keep` bytes are reserved.
    void trim(size_t keep) {
        for (auto chunk = chunks.begin(); chunk != chunks.end() && reserved > keep;) {
            auto gap = gaps.find(chunk->first);
            if (gap == gaps.end() || gap->second != chunk->second) {
                ++chunk;
                continue;
            }
            munmap((void *)chunk->first, chunk->second);
            reserved -= chunk->second;
            gaps.erase(gap);
            chunk = chunks.erase(chunk);
        }
    }

    bool holds(uint64_t at, size_t bytes) const {
        uint64_t chunk = chunk_of(at);
        return chunk && at + bytes <= chunk + chunks.at(chunk);
    }

private:
    /// Sizes by address.
    std::map<uint64_t, size_t> chunks, blocks, gaps;

    uint64_t chunk_of(uint64_t at) const {
        auto after = chunks.upper_bound(at);
        if (after == chunks.begin()) return 0;
        auto [start, size] = *std::prev(after);
        return at < start + size ? start : 0;
    }

    /// Out of the smallest gap that is large enough.
    uint64_t take(size_t size) {
        auto best = gaps.end();
        for (auto gap = gaps.begin(); gap != gaps.end(); ++gap)
            if (gap->second >= size && (best == gaps.end() || gap->second < best->second)) best = gap;
        if (best == gaps.end()) return 0;
        auto [at, room] = *best;
        gaps.erase(best);
        if (room > size) gaps[at + size] = room - size;
        blocks[at] = size;
        return at;
    }

    /// A chunk of the usual size, or one that is just large enough.
    bool grow(size_t size, size_t limit) {
        size_t least = (size + PAGE - 1) / PAGE * PAGE;
        for (size_t chunk : {std::max(least, CHUNK), least}) {
            if (reserved + chunk > limit) trim(limit > chunk ? limit - chunk : 0);
            if (reserved + chunk > limit) continue;
            auto at = (uint64_t)map(chunk);
            if (!at) return false;
            chunks[at] = gaps[at] = chunk;
            reserved += chunk;
            return true;
        }
        return false;
    }
};

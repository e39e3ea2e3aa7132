// Snapshots of chosen launches: what their pointers reach and their image's globals, before and after, as files.
//
// While a launch is being captured the context is idle and no other thread launches. Files are named by content, so
// that what was seen before is not written again.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "functions.h"
#include "images.h"

class Snapshots {
  public:
    Snapshots(const Driver &driver, const Config &config, Journal &journal, Images &images)
        : driver_(driver), config_(config), journal_(journal), images_(images) {
        counts_.resize(config.wanted.size());
    }

    // Whether this launch is one that is wanted; counts it.
    bool wants(const FunctionInfo &info, const uint32_t grid[3], const uint32_t block[3]) {
        bool wanted = false;
        for (uint32_t i : info.wanted) {
            const Wanted &one = config_.wanted[i];
            if (fits(one.grid, grid) && fits(one.block, block)) wanted |= counts_[i]++ == one.index;
        }
        return wanted;
    }

    static bool fits(const std::array<uint32_t, 3> &asked, const uint32_t got[3]) {
        for (int i = 0; i < 3; ++i) {
            if (asked[i] != 0 && asked[i] != got[i]) return false;
        }
        return true;
    }

    struct Window {
        format::Snapshot record;
        std::string name;
        std::vector<char> before;
    };

    // Everything as it is before the launch. Empty where the stream is being captured: nothing runs now.
    std::vector<Window> before(uint64_t sequence, const FunctionInfo &info, CUfunction function, CUstream stream,
                               const Parameters &parameters) {
        std::vector<Window> windows;
        CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
        if (driver_.cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS || status != CU_STREAM_CAPTURE_STATUS_NONE) {
            journal_.note(true, "a launch to be captured went into a graph: " + info.symbol);
            return windows;
        }
        Relaxed relaxed(driver_);
        if (driver_.cuCtxSynchronize() != CUDA_SUCCESS) return windows;
        for (const format::Buffer &buffer : parameters.buffers) {
            uint64_t pointer;
            std::memcpy(&pointer, parameters.bytes.data() + buffer.offset, sizeof pointer);
            // the whole allocation where it is small enough, else what lies behind the pointer
            const bool whole = buffer.size <= config_.buffer_limit;
            const uint64_t address = whole ? buffer.base : pointer;
            const uint64_t bytes = std::min(config_.buffer_limit, buffer.base + buffer.size - address);
            add(&windows, sequence, format::POINTED_TO, buffer.offset, buffer.base, buffer.size, address, bytes, "");
        }
        image(&windows, sequence, info, function);
        for (Window &window : windows) {
            window.before.resize(window.record.bytes);
            if (!copy(window.before.data(), window.record)) window.record.bytes = 0;
            window.record.phase = format::BEFORE;
            put(window.before, &window.record);
            tell(window);
        }
        return windows;
    }

    // The same once the launch is over; what did not change is not written again.
    void after(std::vector<Window> *windows) {
        Relaxed relaxed(driver_);
        const CUresult ended = driver_.cuCtxSynchronize();
        if (ended != CUDA_SUCCESS) {
            journal_.note(true, "the device failed after a captured launch: " + std::to_string(ended));
            return;
        }
        std::vector<char> now;
        for (Window &window : *windows) {
            if (window.record.bytes == 0) continue;
            now.resize(window.record.bytes);
            if (!copy(now.data(), window.record)) continue;
            window.record.phase = format::AFTER;
            window.record.changed = std::memcmp(now.data(), window.before.data(), now.size()) != 0;
            if (window.record.changed) put(now, &window.record);
            tell(window);
        }
    }

  private:
    void add(std::vector<Window> *windows, uint64_t sequence, uint32_t role, uint32_t offset, uint64_t base,
             uint64_t size, uint64_t address, uint64_t bytes, const std::string &name) {
        format::Snapshot record{};
        record.head.kind = format::SNAPSHOT;
        record.sequence = sequence;
        record.base = base;
        record.size = size;
        record.address = address;
        record.bytes = bytes;
        record.role = role;
        record.offset = offset;
        record.name_bytes = uint32_t(name.size());
        windows->push_back({record, name, {}});
    }

    bool copy(char *into, const format::Snapshot &record) {
        if (record.bytes == 0) return false;
        return driver_.cuMemcpy(CUdeviceptr(reinterpret_cast<uintptr_t>(into)), CUdeviceptr(record.address),
                                record.bytes) == CUDA_SUCCESS;
    }

    void tell(const Window &window) {
        journal_.write(&window.record, sizeof window.record, window.name.data(), window.name.size());
    }

    // The code that holds the function, and the globals of that code.
    void image(std::vector<Window> *windows, uint64_t sequence, const FunctionInfo &info, CUfunction function) {
        format::Module record{};
        record.head.kind = format::MODULE;
        record.sequence = sequence;
        const Images::Image image = images_.find(info.symbol, &record.candidates);
        if (image.bytes.empty()) {
            journal_.note(true, "no image was seen that holds " + info.symbol);
            return;
        }
        record.bytes = image.bytes.size();
        put(image.bytes, &record);
        journal_.write(&record, sizeof record);
        auto kernel = reinterpret_cast<CUkernel>(function);
        CUfunction loaded = function;
        CUlibrary library = nullptr;
        const bool is_kernel = driver_.cuKernelGetFunction(&loaded, kernel) == CUDA_SUCCESS;
        if (is_kernel && driver_.cuKernelGetLibrary) driver_.cuKernelGetLibrary(&library, kernel);
        if (!is_kernel) loaded = function;
        CUmodule module = nullptr;
        driver_.cuFuncGetModule(&module, loaded);
        for (const std::string &name : image.globals) {
            CUdeviceptr at = 0;
            size_t bytes = 0;
            const bool found =
                (module && driver_.cuModuleGetGlobal(&at, &bytes, module, name.c_str()) == CUDA_SUCCESS) ||
                (library && driver_.cuLibraryGetGlobal(&at, &bytes, library, name.c_str()) == CUDA_SUCCESS);
            if (!found || bytes == 0) continue;
            add(windows, sequence, format::GLOBAL, 0, at, bytes, at, std::min<uint64_t>(bytes, config_.buffer_limit),
                name);
        }
    }

    // Writes content under its own name, unless that is there already or too much was written; then bytes becomes 0.
    template <typename Bytes, typename Record>
    void put(const Bytes &content, Record *record) {
        record->bytes = content.size();
        if (content.empty()) return;
        digest(content.data(), content.size(), record->hash);
        char name[64];
        std::snprintf(name, sizeof name, "/%016llx%016llx-%llu.bin", (unsigned long long)record->hash[0],
                      (unsigned long long)record->hash[1], (unsigned long long)content.size());
        const std::string path = config_.folder + name;
        struct stat seen;
        if (stat(path.c_str(), &seen) == 0) return;
        if (written_ + content.size() > config_.total_limit) {
            if (!full_) journal_.note(true, "the limit of all snapshots is reached");
            full_ = true;
            record->bytes = 0;
            return;
        }
        written_ += content.size();
        const std::string part = path + "." + std::to_string(getpid());
        FILE *file = std::fopen(part.c_str(), "wb");
        bool whole = file && std::fwrite(content.data(), 1, content.size(), file) == content.size();
        whole = file && std::fclose(file) == 0 && whole;
        if (!whole || std::rename(part.c_str(), path.c_str()) != 0) {
            unlink(part.c_str());
            journal_.note(true, "a snapshot could not be written to " + config_.folder);
            record->bytes = 0;
        }
    }

    // 128 bits of content, for telling apart what one run wrote; the store hashes again, cryptographically.
    static void digest(const char *bytes, size_t size, uint64_t hash[2]) {
        constexpr uint64_t A = 0x9e3779b97f4a7c15u, B = 0xc2b2ae3d27d4eb4fu;
        auto mix = [](uint64_t a, uint64_t b) {
            const unsigned __int128 product = (unsigned __int128)(a) * b;
            return uint64_t(product) ^ uint64_t(product >> 64);
        };
        uint64_t x = size ^ A, y = size + B;
        for (size_t at = 0; at < size; at += 16) {
            uint64_t word[2] = {0, 0};
            std::memcpy(word, bytes + at, std::min<size_t>(16, size - at));
            x = mix(x ^ word[0], word[1] ^ A) + word[1];
            y = mix(y + word[1], word[0] ^ B) ^ ((y << 23) | (y >> 41)) ^ word[0];
        }
        hash[0] = mix(x ^ A, y | 1);
        hash[1] = mix(y ^ B, x | 1);
    }

    const Driver &driver_;
    const Config &config_;
    Journal &journal_;
    Images &images_;
    std::vector<uint64_t> counts_;
    uint64_t written_ = 0;
    bool full_ = false;
};

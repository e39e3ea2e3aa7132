// What is known of each function and of each allocation: caches over the driver's answers, asked once.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "config.h"
#include "driver.h"
#include "journal.h"

struct FunctionInfo {
    uint32_t id = 0;
    std::string symbol;
    bool watched = true, known = false;  // known: its parameters' layout was told
    struct Parameter {
        uint32_t offset, size;
    };
    std::vector<Parameter> parameters;
    uint32_t parameter_bytes = 0;
    std::vector<uint32_t> rules, wanted;  // indices into the configuration
};

class Functions {
  public:
    Functions(const Driver &driver, const Config &config, Journal &journal)
        : driver_(driver), config_(config), journal_(journal) {}

    // What a handle stands for; `name` is null where the caller does not know it. Entries are never freed.
    const FunctionInfo *find(CUfunction function, const char *name) {
        struct Slot {
            CUfunction function;
            uint64_t generation;
            const FunctionInfo *info;
        };
        static thread_local Slot slots[SLOTS];
        Slot &slot = slots[(reinterpret_cast<uintptr_t>(function) >> 4) % SLOTS];
        const uint64_t generation = generation_.load(std::memory_order_acquire);
        if (slot.function == function && slot.generation == generation) return slot.info;
        const FunctionInfo *info = nullptr;
        {
            std::shared_lock hold(lock_);
            auto found = known_.find(function);
            if (found != known_.end()) info = found->second;
        }
        if (info == nullptr) info = learn(function, name);
        slot = {function, generation, info};
        return info;
    }

    // Handles may come to mean something else: an image was unloaded.
    void forget() {
        std::unique_lock hold(lock_);
        known_.clear();
        generation_.fetch_add(1, std::memory_order_release);
    }

  private:
    static constexpr size_t SLOTS = 256;
    static constexpr uint32_t MOST_PARAMETERS = 4096;

    const FunctionInfo *learn(CUfunction function, const char *name) {
        auto kernel = reinterpret_cast<CUkernel>(function);
        CUfunction of_kernel = nullptr;
        // a handle may be a CUkernel (lazy loading), and the driver tells them apart
        const bool is_kernel = driver_.cuKernelGetFunction(&of_kernel, kernel) == CUDA_SUCCESS;
        auto *info = new FunctionInfo;
        const char *said = name;
        if (said == nullptr && (is_kernel ? driver_.cuKernelGetName(&said, kernel)
                                          : driver_.cuFuncGetName(&said, function)) != CUDA_SUCCESS) {
            said = nullptr;
        }
        info->symbol = said ? said : "";
        CUresult told = CUDA_SUCCESS;
        for (uint32_t i = 0; i < MOST_PARAMETERS; ++i) {
            size_t offset = 0, size = 0;
            told = is_kernel ? driver_.cuKernelGetParamInfo(kernel, i, &offset, &size)
                             : driver_.cuFuncGetParamInfo(function, i, &offset, &size);
            if (told != CUDA_SUCCESS) break;
            info->parameters.push_back({uint32_t(offset), uint32_t(size)});
            info->parameter_bytes = std::max(info->parameter_bytes, uint32_t(offset + size));
        }
        info->known = told == CUDA_ERROR_INVALID_VALUE;  // the index after the last
        for (uint32_t i = 0; i < config_.rules.size(); ++i) {
            if (config_.rules[i].symbol == info->symbol) info->rules.push_back(i);
        }
        for (uint32_t i = 0; i < config_.wanted.size(); ++i) {
            if (config_.wanted[i].symbol == info->symbol) info->wanted.push_back(i);
        }
        if (!config_.only.empty()) {
            info->watched = std::find(config_.only.begin(), config_.only.end(), info->symbol) != config_.only.end();
        }
        std::unique_lock hold(lock_);
        auto [place, is_new] = known_.emplace(function, info);
        if (!is_new) {
            delete info;
            return place->second;
        }
        info->id = next_++;
        if (info->watched) tell(*info, function, is_kernel);
        return info;
    }

    void tell(const FunctionInfo &info, CUfunction function, bool is_kernel) {
        CUdevice device = 0;
        driver_.cuCtxGetDevice(&device);
        auto attribute = [&](CUfunction_attribute which) {
            int value = -1;
            if (is_kernel) driver_.cuKernelGetAttribute(&value, which, reinterpret_cast<CUkernel>(function), device);
            else driver_.cuFuncGetAttribute(&value, which, function);
            return value;
        };
        format::Function record{};
        record.head.kind = format::FUNCTION;
        record.id = info.id;
        record.parameters = uint32_t(info.parameters.size());
        record.name_bytes = uint32_t(info.symbol.size());
        record.static_bytes = attribute(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
        record.registers = attribute(CU_FUNC_ATTRIBUTE_NUM_REGS);
        record.local_bytes = attribute(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
        record.max_threads = attribute(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
        record.binary_version = attribute(CU_FUNC_ATTRIBUTE_BINARY_VERSION);
        journal_.write(&record, sizeof record, info.parameters.data(),
                       info.parameters.size() * sizeof(FunctionInfo::Parameter), info.symbol.data(),
                       info.symbol.size());
    }

    const Driver &driver_;
    const Config &config_;
    Journal &journal_;
    std::shared_mutex lock_;
    std::unordered_map<CUfunction, const FunctionInfo *> known_;
    std::atomic<uint64_t> generation_{1};
    uint32_t next_ = 1;
};

// Allocations, by an address in them. An answer holds until something is freed or unmapped.
class Allocations {
  public:
    explicit Allocations(const Driver &driver) : driver_(driver) {}

    // False where the value is no address in an allocation of the current context.
    bool find(uint64_t value, uint64_t *base, uint64_t *size) {
        // no allocation lies in the first 64 KiB, or beyond what an address can be
        if (value < 0x10000 || value >> 57) return false;
        struct Slot {
            uint64_t generation, base, size;
        };
        static thread_local Slot slots[SLOTS];
        static thread_local unsigned next;
        const uint64_t generation = generation_.load(std::memory_order_acquire);
        for (const Slot &slot : slots) {
            if (slot.generation == generation && value - slot.base < slot.size) {
                *base = slot.base;
                *size = slot.size;
                return true;
            }
        }
        CUdeviceptr start = 0;
        size_t bytes = 0;
        if (driver_.cuMemGetAddressRange(&start, &bytes, CUdeviceptr(value)) != CUDA_SUCCESS || bytes == 0) return false;
        slots[next++ % SLOTS] = {generation, uint64_t(start), uint64_t(bytes)};
        *base = uint64_t(start);
        *size = uint64_t(bytes);
        return true;
    }

    void forget() { generation_.fetch_add(1, std::memory_order_release); }

  private:
    static constexpr size_t SLOTS = 16;
    const Driver &driver_;
    std::atomic<uint64_t> generation_{1};
};

// The parameters of one launch, as the kernel sees them: one buffer, every value at its own offset.
struct Parameters {
    std::vector<char> bytes;
    std::vector<format::Buffer> buffers;
    uint32_t flags = 0;

    void read(const FunctionInfo &info, void **values, void **extra, Allocations &allocations) {
        flags = 0;
        buffers.clear();
        const void *packed = nullptr;
        size_t packed_bytes = 0;
        for (void **at = extra; values == nullptr && at != nullptr && *at != CU_LAUNCH_PARAM_END; at += 2) {
            if (*at == CU_LAUNCH_PARAM_BUFFER_POINTER) packed = at[1];
            else if (*at == CU_LAUNCH_PARAM_BUFFER_SIZE) packed_bytes = *static_cast<const size_t *>(at[1]);
            else break;
        }
        if (packed != nullptr) {
            flags |= format::PACKED;
            bytes.assign(static_cast<const char *>(packed), static_cast<const char *>(packed) + packed_bytes);
        } else if (info.known) {
            bytes.assign(info.parameter_bytes, 0);
            for (size_t i = 0; values != nullptr && i < info.parameters.size(); ++i) {
                if (values[i] != nullptr) {
                    std::memcpy(bytes.data() + info.parameters[i].offset, values[i], info.parameters[i].size);
                }
            }
        } else {
            bytes.clear();
        }
        if (!info.known) flags |= format::UNKNOWN;
        // pointers lie at multiples of 8, also inside structs that are passed by value
        for (size_t offset = 0; offset + 8 <= bytes.size(); offset += 8) {
            uint64_t value;
            std::memcpy(&value, bytes.data() + offset, sizeof value);
            format::Buffer found{uint32_t(offset), 0, 0, 0};
            if (allocations.find(value, &found.base, &found.size)) buffers.push_back(found);
        }
    }
};

// Another kernel in place of one that is launched: which rule fits, and the function that it names, loaded once.
#pragma once

#include <fstream>
#include <map>
#include <mutex>

#include "functions.h"
#include "snapshots.h"

class Swaps {
  public:
    Swaps(const Driver &driver, const Config &config, Journal &journal)
        : driver_(driver), config_(config), journal_(journal) {}

    // The first rule that fits, or null; a launch that none fits is counted as missed.
    const Rule *match(const FunctionInfo &info, const uint32_t grid[3], const uint32_t block[3],
                      const Parameters &parameters, uint32_t *index) {
        for (uint32_t i : info.rules) {
            const Rule &rule = config_.rules[i];
            if (Snapshots::fits(rule.grid, grid) && Snapshots::fits(rule.block, block) && holds(rule, parameters)) {
                *index = i;
                return &rule;
            }
        }
        journal_.add(&format::Header::missed);
        return nullptr;
    }

    // The rule's function in that context; null where it cannot be loaded, which the log says once.
    CUfunction load(uint32_t index, uint32_t context, const FunctionInfo &info) {
        std::lock_guard hold(lock_);
        auto [place, is_new] = loaded_.emplace(std::make_pair(index, context), nullptr);
        if (!is_new) return place->second;
        const Rule &rule = config_.rules[index];
        std::ifstream file(rule.image, std::ios::binary);
        // one more byte: an image may be PTX, which ends with a NUL
        const std::string image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        CUmodule module = nullptr;
        CUfunction function = nullptr;
        CUresult result = CUDA_ERROR_FILE_NOT_FOUND;
        std::string message = "the image cannot be read: " + rule.image;
        if (!image.empty()) {
            Relaxed relaxed(driver_);
            message = "the image cannot be loaded: " + rule.image;
            result = driver_.cuModuleLoadData(&module, image.c_str());
            if (result == CUDA_SUCCESS) {
                message = "the image has no kernel " + rule.entry;
                result = driver_.cuModuleGetFunction(&function, module, rule.entry.c_str());
            }
            if (result == CUDA_SUCCESS && rule.shared != Rule::KEEP && rule.shared > 48 * 1024) {
                message = "so much dynamic shared memory is refused: " + std::to_string(rule.shared);
                result = driver_.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                    int(rule.shared));
            }
        }
        if (result == CUDA_SUCCESS) message.clear();
        format::Swap record{};
        record.head.kind = format::SWAP;
        record.rule = index;
        record.function = info.id;
        record.result = uint32_t(result);
        record.message_bytes = uint32_t(message.size());
        journal_.write(&record, sizeof record, message.data(), message.size());
        place->second = result == CUDA_SUCCESS ? function : nullptr;
        return place->second;
    }

    // Geometry of the replacement; 0 keeps what the launch has.
    static void shape(const Rule &rule, unsigned *gx, unsigned *gy, unsigned *gz, unsigned *bx, unsigned *by,
                      unsigned *bz, unsigned *shared) {
        unsigned *to[6] = {gx, gy, gz, bx, by, bz};
        for (int i = 0; i < 3; ++i) {
            if (rule.new_grid[i]) *to[i] = rule.new_grid[i];
            if (rule.new_block[i]) *to[3 + i] = rule.new_block[i];
        }
        if (rule.shared != Rule::KEEP) *shared = rule.shared;
    }

  private:
    static bool holds(const Rule &rule, const Parameters &parameters) {
        for (const Rule::Condition &one : rule.conditions) {
            if (one.offset + one.bytes.size() > parameters.bytes.size() ||
                std::memcmp(parameters.bytes.data() + one.offset, one.bytes.data(), one.bytes.size()) != 0) {
                return false;
            }
        }
        return true;
    }

    const Driver &driver_;
    const Config &config_;
    Journal &journal_;
    std::mutex lock_;
    std::map<std::pair<uint32_t, uint32_t>, CUfunction> loaded_;
};

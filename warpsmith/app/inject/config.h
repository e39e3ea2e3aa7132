// What to do, read from the file that WARPSMITH_INJECT names: lines of tab-separated fields. app/library.py writes it.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

struct Rule {
    std::string symbol;
    std::array<uint32_t, 3> grid{}, block{};  // of the launch; 0 is any
    std::string image, entry;
    std::array<uint32_t, 3> new_grid{}, new_block{}, new_cluster{};  // 0 keeps the launch's own
    static constexpr uint32_t KEEP = 0xffffffff;
    uint32_t shared = KEEP;  // dynamic shared memory in bytes
    struct Condition {
        uint32_t offset;
        std::string bytes;
    };
    std::vector<Condition> conditions;  // on bytes of the parameter buffer
};

struct Wanted {
    std::string symbol;
    uint64_t index = 0;  // among the launches of that symbol and geometry, from 0
    std::array<uint32_t, 3> grid{}, block{};
};

struct Config {
    std::string folder;
    bool times = false;
    uint64_t limit = uint64_t(1) << 30;
    uint64_t buffer_limit = uint64_t(1) << 28, total_limit = uint64_t(1) << 33;
    std::vector<std::string> only;
    std::vector<Wanted> wanted;
    std::vector<Rule> rules;

    // An empty string, or what is wrong.
    std::string read(const char *path) {
        std::ifstream file(path);
        if (!file) return std::string("cannot read ") + path;
        for (std::string line; std::getline(file, line);) {
            if (line.empty()) continue;
            std::vector<std::string> fields(1);
            for (char c : line) {
                if (c == '\t') fields.emplace_back();
                else fields.back() += c;
            }
            if (!take(fields)) return "cannot understand the line: " + line;
        }
        return folder.empty() ? "no folder is named" : "";
    }

  private:
    bool take(const std::vector<std::string> &f) {
        const std::string &key = f[0];
        auto number = [&](size_t i) { return std::strtoull(f[i].c_str(), nullptr, 10); };
        auto three = [&](size_t i) {
            return std::array<uint32_t, 3>{uint32_t(number(i)), uint32_t(number(i + 1)), uint32_t(number(i + 2))};
        };
        if (key == "folder" && f.size() == 2) folder = f[1];
        else if (key == "times" && f.size() == 2) times = number(1);
        else if (key == "limit" && f.size() == 2) limit = number(1);
        else if (key == "buffer_limit" && f.size() == 2) buffer_limit = number(1);
        else if (key == "total_limit" && f.size() == 2) total_limit = number(1);
        else if (key == "only" && f.size() == 2) only.push_back(f[1]);
        else if (key == "capture" && f.size() == 9) wanted.push_back({f[1], number(2), three(3), three(6)});
        else if (key == "swap" && f.size() == 20) {
            rules.push_back({f[1], three(2), three(5), f[8], f[9], three(10), three(13), three(16),
                             uint32_t(number(19)), {}});
        } else if (key == "where" && f.size() == 3 && !rules.empty()) {  // of the swap before it: offset, hexadecimal
            std::string bytes;
            for (size_t i = 0; i + 1 < f[2].size(); i += 2) {
                bytes += char(std::strtoul(f[2].substr(i, 2).c_str(), nullptr, 16));
            }
            rules.back().conditions.push_back({uint32_t(number(1)), bytes});
        } else return false;
        return true;
    }
};

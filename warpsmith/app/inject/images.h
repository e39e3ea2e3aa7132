// Code images as the driver loads them: which hold the kernels that are wanted, and what globals they have.
#pragma once

#include <elf.h>

#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

class Images {
  public:
    explicit Images(std::set<std::string> symbols) : symbols_(std::move(symbols)) {}

    // Keeps a copy where one of the wanted kernels is in it. The bytes come from the driver.
    void loaded(const char *image, size_t bytes) {
        if (symbols_.empty() || image == nullptr) return;
        Image found{std::string(image, bytes), {}, {}};
        if (!scan(&found) || found.kernels.empty()) return;
        std::lock_guard hold(lock_);
        images_.push_back(std::move(found));
    }

    struct Image {
        std::string bytes;
        std::set<std::string> kernels;  // the wanted ones
        std::vector<std::string> globals;
    };

    // The last image loaded that has that kernel, and how many have; a copy of nothing where none has.
    Image find(const std::string &symbol, uint32_t *candidates) {
        std::lock_guard hold(lock_);
        const Image *last = nullptr;
        *candidates = 0;
        for (const Image &image : images_) {
            if (image.kernels.count(symbol)) {
                last = &image;
                ++*candidates;
            }
        }
        return last ? *last : Image{};
    }

  private:
    bool scan(Image *image) const {
        const std::string &b = image->bytes;
        Elf64_Ehdr head;
        if (b.size() < sizeof head) return false;
        std::memcpy(&head, b.data(), sizeof head);
        if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_shentsize != sizeof(Elf64_Shdr)) return false;
        auto section = [&](size_t i, Elf64_Shdr *out) {
            const uint64_t at = head.e_shoff + i * sizeof *out;
            if (at > b.size() || b.size() - at < sizeof *out) return false;
            std::memcpy(out, b.data() + at, sizeof *out);
            return out->sh_type == SHT_NOBITS || (out->sh_offset <= b.size() && out->sh_size <= b.size() - out->sh_offset);
        };
        for (size_t i = 0; i < head.e_shnum; ++i) {
            Elf64_Shdr table, strings;
            if (!section(i, &table) || table.sh_type != SHT_SYMTAB || !section(table.sh_link, &strings)) continue;
            for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
                Elf64_Sym symbol;
                std::memcpy(&symbol, b.data() + table.sh_offset + at, sizeof symbol);
                if (symbol.st_name >= strings.sh_size || symbol.st_shndx == SHN_UNDEF) continue;
                const char *name = b.data() + strings.sh_offset + symbol.st_name;
                const std::string text(name, strnlen(name, strings.sh_size - symbol.st_name));
                const unsigned kind = ELF64_ST_TYPE(symbol.st_info);
                if (kind == STT_FUNC && symbols_.count(text)) image->kernels.insert(text);
                if (kind == STT_OBJECT && symbol.st_size > 0) image->globals.push_back(text);
            }
        }
        return true;
    }

    const std::set<std::string> symbols_;
    std::mutex lock_;
    std::vector<Image> images_;
};

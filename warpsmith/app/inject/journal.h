// The log file of this process: a shared mapping that grows up to a limit. Owns the file, its lock and its counters.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>

#include "format.h"

class Journal {
  public:
    // False where the file cannot be made; then nothing is logged.
    bool open(const std::string &folder, uint64_t limit) {
        timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        const uint64_t ns = uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
        const std::string path = folder + "/" + std::to_string(getpid()) + "-" + std::to_string(ns) + ".launches";
        const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0) return false;
        limit_ = std::max<uint64_t>(limit, FIRST);
        // address space only; a process with little of it gets a shorter log
        for (; limit_ >= FIRST; limit_ /= 4) {
            void *at = mmap(nullptr, limit_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            if (at != MAP_FAILED) {
                base_ = static_cast<char *>(at);
                break;
            }
        }
        file_ = file;
        if (base_ == nullptr || !grow(FIRST)) {
            close(file);
            return false;
        }
        madvise(base_, limit_, MADV_DONTFORK);  // a child has no way to write here
        header_ = reinterpret_cast<format::Header *>(base_);
        used_ = format::HEADER_BYTES;
        header_->version = format::VERSION;
        header_->header_bytes = format::HEADER_BYTES;
        header_->pid = uint32_t(getpid());
        header_->parent = uint32_t(getppid());
        header_->started_ns = ns;
        header_->used = used_;
        std::memcpy(header_->magic, format::MAGIC, sizeof format::MAGIC);
        return true;
    }

    format::Header *header() { return header_; }

    void add(uint64_t format::Header::*counter, uint64_t n = 1) {
        __atomic_fetch_add(&(header_->*counter), n, __ATOMIC_RELAXED);
    }

    void hit(uint32_t rule) { __atomic_fetch_add(&header_->hits[rule], 1, __ATOMIC_RELAXED); }

    // One record in up to three pieces; the first begins with its Head, whose size is filled in here.
    void write(const void *record, size_t bytes, const void *more = nullptr, size_t more_bytes = 0,
               const void *last = nullptr, size_t last_bytes = 0) {
        const uint64_t size = (bytes + more_bytes + last_bytes + 7) & ~uint64_t(7);
        pthread_mutex_lock(&lock_);
        // 8 bytes stay free, so that a size of 0 ends every log
        if (size > limit_ || used_ + size + 8 > limit_ || (used_ + size + 8 > allocated_ && !grow(used_ + size + 8))) {
            pthread_mutex_unlock(&lock_);
            add(&format::Header::dropped);
            return;
        }
        char *at = base_ + used_;
        constexpr size_t skip = sizeof(uint32_t);
        std::memcpy(at + skip, static_cast<const char *>(record) + skip, bytes - skip);
        if (more_bytes) std::memcpy(at + bytes, more, more_bytes);
        if (last_bytes) std::memcpy(at + bytes + more_bytes, last, last_bytes);
        __atomic_store_n(reinterpret_cast<uint32_t *>(at), uint32_t(size), __ATOMIC_RELEASE);
        used_ += size;
        header_->used = used_;
        pthread_mutex_unlock(&lock_);
    }

    void note(bool trouble, const std::string &text) {
        format::Text record{{0, format::NOTE, 0}, trouble, uint32_t(text.size())};
        write(&record, sizeof record, text.data(), text.size());
    }

  private:
    static constexpr uint64_t FIRST = uint64_t(1) << 20, STEP = uint64_t(16) << 20;

    bool grow(uint64_t needed) {
        const uint64_t more = std::min(std::max(needed, allocated_ ? allocated_ + STEP : FIRST), limit_);
        // blocks are taken now: a full disk must be an error here and not a signal later
        if (more < needed || posix_fallocate(file_, off_t(allocated_), off_t(more - allocated_)) != 0) return false;
        allocated_ = more;
        return true;
    }

    int file_ = -1;
    char *base_ = nullptr;
    format::Header *header_ = nullptr;
    uint64_t limit_ = 0, allocated_ = 0, used_ = 0;
    pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
};

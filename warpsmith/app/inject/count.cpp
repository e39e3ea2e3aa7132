// The library that is preloaded into an application (LD_PRELOAD) to count its kernel launches. It stands between the
// application and the driver's launch functions however these are found: by the linker, by dlsym, or by
// cuGetProcAddress, as the CUDA runtime does. A launch then costs one addition more, and no callback.
//
// It needs no header of CUDA. What it does not know goes to the driver as it came; a process that never starts the
// driver leaves no log, and a child that was forked after its parent did so has none of its own.
#include <dlfcn.h>

#include <fstream>
#include <iterator>
#include <mutex>

#include "journal.h"

#define SEEN extern "C" __attribute__((visibility("default")))

namespace {

using Result = int;  // CUresult
constexpr Result SUCCESS = 0, NOT_FOUND = 500;
constexpr uint64_t PER_THREAD_STREAM = 2;  // CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM
constexpr int FIRST_WITH_STATUS = 12000;   // from this version on "cuGetProcAddress" is the one with a status

std::atomic<Journal *> journal{nullptr};

void finish() {
    if (Journal *mine = journal.load()) mine->header()->finished = 1;
}

void forked() { journal.store(nullptr); }

using Dlsym = void *(*)(void *, const char *);

Dlsym real_dlsym() {
    static Dlsym found = [] {
        for (const char *version : {"GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.34"}) {
            if (void *at = dlvsym(RTLD_NEXT, "dlsym", version)) return reinterpret_cast<Dlsym>(at);
        }
        std::abort();  // there is no C library of another kind that has dlvsym
    }();
    return found;
}

// The driver's own function, not ours, for a caller that was linked with the driver.
void *of_driver(const char *name) {
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    void *found = library ? real_dlsym()(library, name) : nullptr;
    if (library) dlclose(library);
    return found;
}

std::string whole(const char *path) {
    std::ifstream file(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

// This process has started the driver: its log begins.
void begin() {
    static std::mutex lock;
    std::lock_guard hold(lock);
    const char *folder = std::getenv("WARPSMITH_COUNT");
    if (journal.load() || folder == nullptr) return;
    auto *made = new Journal;  // never destroyed: threads may launch while the process ends
    if (!made->open(folder, 0)) return;
    int driver = 0;
    if (void *version = of_driver("cuDriverGetVersion")) reinterpret_cast<Result (*)(int *)>(version)(&driver);
    char exe[4096];
    const ssize_t length = readlink("/proc/self/exe", exe, sizeof exe);
    const std::string command = whole("/proc/self/cmdline");
    format::Process record{};
    record.head.kind = format::PROCESS;
    record.driver = uint32_t(driver);
    record.exe_bytes = length > 0 ? uint32_t(length) : 0;
    record.command_bytes = uint32_t(command.size());
    made->write(&record, sizeof record, exe, record.exe_bytes, command.data(), command.size());
    static bool once = false;
    if (!once) {
        pthread_atfork(nullptr, nullptr, forked);
        std::atexit(finish);
        once = true;
    }
    journal.store(made);
}

// What was asked for is counted, as long as the driver was started: refused launches too.
inline Result counted(uint64_t format::Header::*counter, Result result) {
    Journal *mine = journal.load(std::memory_order_relaxed);
    if (mine == nullptr) {
        if (result != SUCCESS) return result;
        begin();
        mine = journal.load();
    }
    if (mine) mine->add(counter);
    return result;
}

// A function of the driver, and what stands in for it.
struct Entry {
    const char *name;
    void *ours;
    std::atomic<void *> theirs{nullptr};

    template <typename F>
    F *real(F *) {
        void *known = theirs.load(std::memory_order_relaxed);
        if (known == nullptr) theirs.store(known = of_driver(name));
        return reinterpret_cast<F *>(known);
    }
};

Entry *entry(const char *name);

// Ours for theirs, where it is one of those; what the application finds is what it would have found, or ours.
void *instead(Entry *known, void *found) {
    if (found == known->ours) found = of_driver(known->name);  // looked up among all libraries, this one too
    if (found == nullptr) return nullptr;
    void *none = nullptr;
    known->theirs.compare_exchange_strong(none, found);
    return known->ours;
}

void *found_by_address(const char *symbol, void *found, int version, uint64_t flags) {
    std::string name = symbol;
    if (name == "cuGetProcAddress" && version >= FIRST_WITH_STATUS) name += "_v2";
    Entry *known = flags & PER_THREAD_STREAM ? entry((name + "_ptsz").c_str()) : nullptr;
    if (known == nullptr) known = entry(name.c_str());
    return known ? instead(known, found) : found;
}

}  // namespace

// clang-format off
#define CALL(name, parameters, arguments)                                     \
    SEEN Result name parameters {                                             \
        static Entry *mine = entry(#name);                                    \
        auto *real = mine->real(&name);                                       \
        return real ? real arguments : NOT_FOUND;                             \
    }
#define LAUNCH(name, counter, parameters, arguments)                          \
    SEEN Result name parameters {                                             \
        static Entry *mine = entry(#name);                                    \
        auto *real = mine->real(&name);                                       \
        return real ? counted(&format::Header::counter, real arguments) : NOT_FOUND; \
    }
#define LAUNCHES(name, counter, parameters, arguments)                        \
    LAUNCH(name, counter, parameters, arguments)                              \
    LAUNCH(name##_ptsz, counter, parameters, arguments)

LAUNCHES(cuLaunchKernel, launches,
         (void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
          void *stream, void **values, void **extra),
         (f, gx, gy, gz, bx, by, bz, shared, stream, values, extra))
LAUNCHES(cuLaunchKernelEx, launches,
         (const void *config, void *f, void **values, void **extra), (config, f, values, extra))
LAUNCHES(cuLaunchCooperativeKernel, launches,
         (void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
          void *stream, void **values),
         (f, gx, gy, gz, bx, by, bz, shared, stream, values))
LAUNCHES(cuGraphLaunch, graph_launches, (void *graph, void *stream), (graph, stream))
// clang-format on

SEEN Result cuInit(unsigned flags) {
    static Entry *mine = entry("cuInit");
    auto *real = mine->real(&cuInit);
    const Result result = real ? real(flags) : NOT_FOUND;
    if (result == SUCCESS) begin();
    return result;
}

SEEN Result cuGetProcAddress(const char *symbol, void **found, int version, uint64_t flags) {
    static Entry *mine = entry("cuGetProcAddress");
    auto *real = mine->real(&cuGetProcAddress);
    const Result result = real ? real(symbol, found, version, flags) : NOT_FOUND;
    if (result == SUCCESS && *found) *found = found_by_address(symbol, *found, version, flags);
    return result;
}

SEEN Result cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status) {
    static Entry *mine = entry("cuGetProcAddress_v2");
    auto *real = mine->real(&cuGetProcAddress_v2);
    const Result result = real ? real(symbol, found, version, flags, status) : NOT_FOUND;
    if (result == SUCCESS && found && *found) *found = found_by_address(symbol, *found, version, flags);
    return result;
}

// Last calls of this function are jumps, so that the C library sees who asked: RTLD_NEXT means next after that one.
SEEN void *dlsym(void *handle, const char *name) {
    if (handle == RTLD_NEXT || name[0] != 'c' || name[1] != 'u') return real_dlsym()(handle, name);
    Entry *known = entry(name);
    if (known == nullptr) return real_dlsym()(handle, name);
    return instead(known, real_dlsym()(handle, name));
}

namespace {

Entry *entry(const char *name) {
#define OURS(name) {#name, reinterpret_cast<void *>(&name)}
    static Entry all[] = {
        OURS(cuLaunchKernel), OURS(cuLaunchKernel_ptsz), OURS(cuLaunchKernelEx), OURS(cuLaunchKernelEx_ptsz),
        OURS(cuLaunchCooperativeKernel), OURS(cuLaunchCooperativeKernel_ptsz), OURS(cuGraphLaunch),
        OURS(cuGraphLaunch_ptsz), OURS(cuInit), OURS(cuGetProcAddress), OURS(cuGetProcAddress_v2),
    };
#undef OURS
    for (Entry &one : all) {
        if (std::strcmp(one.name, name) == 0) return &one;
    }
    return nullptr;
}

}  // namespace

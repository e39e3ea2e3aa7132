// The library that the CUDA driver loads into an application (CUDA_INJECTION64_PATH): it watches kernel launches through
// CUPTI, and where it was told to, keeps what a launch reads and writes, or puts another kernel in its place.
//
// It writes to its own files only: nothing to the streams of the application, no signal handler, and its exit status
// stays its own. What goes wrong here is a note in the log, and the application goes on.
#include <cupti.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "calls.h"
#include "config.h"
#include "driver.h"
#include "functions.h"
#include "images.h"
#include "journal.h"
#include "snapshots.h"
#include "swaps.h"

namespace {

constexpr size_t ACTIVITY_BYTES = size_t(4) << 20;
constexpr long FLUSH_MS = 100;  // what may be lost of device times where a process is killed

std::set<std::string> captured_symbols(const Config &config) {
    std::set<std::string> symbols;
    for (const Wanted &one : config.wanted) symbols.insert(one.symbol);
    return symbols;
}

// All that this process knows; made once, never destroyed, since threads may still launch while the process ends.
struct State {
    explicit State(Config said)
        : config(std::move(said)),
          functions(driver, config, journal),
          allocations(driver),
          images(captured_symbols(config)),
          snapshots(driver, config, journal, images),
          swaps(driver, config, journal) {}

    const Config config;
    Driver driver;
    Journal journal;
    Functions functions;
    Allocations allocations;
    Images images;
    Snapshots snapshots;
    Swaps swaps;
    CUpti_SubscriberHandle subscriber = nullptr;
    std::atomic<uint64_t> sequence{0};
    std::atomic<uint64_t> devices{0};  // bit per device that the log names
    std::recursive_mutex alone;        // held from entry to exit of each launch where some are captured
};

State *state = nullptr;
std::atomic<bool> at_work{false};

void name_device(uint32_t device) {
    if (device >= 64 || (state->devices.fetch_or(uint64_t(1) << device) >> device & 1)) return;
    char name[256] = "";
    state->driver.cuDeviceGetName(name, sizeof name, CUdevice(device));
    format::Text record{{0, format::DEVICE, 0}, device, uint32_t(std::strlen(name))};
    state->journal.write(&record, sizeof record, name, record.bytes);
}

bool is_launch(const Shape &shape) { return shape.how <= format::COOPERATIVE; }

// What was asked for, before anything of ours changes it; kept until exit in the record itself.
struct Asked {
    format::Launch record{};
    const FunctionInfo *info = nullptr;
};

Asked &asked() {
    static thread_local Asked *mine = nullptr;
    if (mine == nullptr) mine = new Asked;
    return *mine;
}

void enter(CUpti_CallbackId id, const CUpti_CallbackData *data) {
    Call &mine = call();
    Shape shape;
    if (!understand(id, data, true, &mine, &shape)) return;
    mine.node = 0;
    mine.flags = shape.flags;
    mine.windows.clear();
    mine.nested = true;
    Asked &said = asked();
    said.info = state->functions.find(*shape.function, is_launch(shape) ? data->symbolName : nullptr);
    const FunctionInfo &info = *said.info;
    const bool serial = !state->config.wanted.empty();
    if (serial) state->alone.lock();
    mine.launching = true;
    if (is_launch(shape)) {
        mine.sequence = state->sequence.fetch_add(1, std::memory_order_relaxed);
        state->journal.add(&format::Header::launches);
    }
    if (info.watched) {
        format::Launch &record = said.record;
        record = {};
        record.head.kind = format::LAUNCH;
        record.sequence = mine.sequence;
        cuptiGetTimestamp(&record.at_ns);
        record.stream = uint64_t(reinterpret_cast<uintptr_t>(shape.stream));
        record.function = info.id;
        record.correlation = data->correlationId;
        record.context = data->contextUid;
        if (mine.context != data->context && data->context != nullptr) {
            mine.context = data->context;
            cuptiGetDeviceId(data->context, &mine.device);
            name_device(mine.device);
        }
        record.device = mine.device;
        record.thread = mine.thread;
        for (int i = 0; i < 3; ++i) {
            record.grid[i] = *shape.grid[i];
            record.block[i] = *shape.block[i];
            record.cluster[i] = shape.cluster[i];
        }
        record.dynamic_bytes = *shape.shared;
        record.how = shape.how;
        mine.parameters.read(info, shape.values, shape.extra, state->allocations);
        mine.flags |= mine.parameters.flags;
        if (!info.wanted.empty() && is_launch(shape) && state->snapshots.wants(info, record.grid, record.block)) {
            mine.windows =
                state->snapshots.before(mine.sequence, info, *shape.function, shape.stream, mine.parameters);
        }
        uint32_t index = 0;
        const Rule *rule =
            info.rules.empty() ? nullptr
                               : state->swaps.match(info, record.grid, record.block, mine.parameters, &index);
        CUfunction other = rule ? state->swaps.load(index, data->contextUid, info) : nullptr;
        if (other != nullptr) {
            *shape.place = other;
            Swaps::shape(*rule, shape.grid[0], shape.grid[1], shape.grid[2], shape.block[0], shape.block[1],
                         shape.block[2], shape.shared);
            redirect(id, data, &mine);
            mine.flags |= format::SWAPPED;
            mine.rule = index;
            state->journal.hit(index);
        }
    }
    mine.nested = false;
}

void leave(CUpti_CallbackId id, const CUpti_CallbackData *data) {
    Call &mine = call();
    if (!mine.launching) return;
    mine.launching = false;
    mine.nested = true;
    Asked &said = asked();
    if (!mine.windows.empty()) state->snapshots.after(&mine.windows);
    mine.windows.clear();
    if (said.info->watched) {
        format::Launch &record = said.record;
        Shape shape;
        understand(id, data, false, &mine, &shape);
        record.exec = shape.exec;
        record.node = mine.node;
        if (shape.node != nullptr) cuptiGetGraphNodeId(shape.node, &record.node);
        if (mine.node != 0 && shape.how <= format::COOPERATIVE) mine.flags |= format::CAPTURED;
        record.flags = mine.flags;
        record.rule = mine.flags & format::SWAPPED ? mine.rule : 0;
        record.result = uint32_t(*static_cast<const CUresult *>(data->functionReturnValue));
        record.buffers = uint32_t(mine.parameters.buffers.size());
        record.parameter_bytes = uint32_t(mine.parameters.bytes.size());
        mine.parameters.bytes.resize((mine.parameters.bytes.size() + 7) & ~size_t(7));
        state->journal.write(&record, sizeof record, mine.parameters.bytes.data(), mine.parameters.bytes.size(),
                             mine.parameters.buffers.data(), mine.parameters.buffers.size() * sizeof(format::Buffer));
    }
    if (!state->config.wanted.empty()) state->alone.unlock();
    mine.nested = false;
}

void graph_launched(const CUpti_CallbackData *data) {
    state->journal.add(&format::Header::graph_launches);
    const auto *p = static_cast<const cuGraphLaunch_params *>(data->functionParams);
    format::GraphLaunch record{};
    record.head.kind = format::GRAPH_LAUNCH;
    cuptiGetTimestamp(&record.at_ns);
    record.stream = uint64_t(reinterpret_cast<uintptr_t>(p->hStream));
    record.correlation = data->correlationId;
    record.context = data->contextUid;
    record.thread = call().thread;
    cuptiGetGraphExecId(p->hGraph, &record.exec);
    record.result = uint32_t(*static_cast<const CUresult *>(data->functionReturnValue));
    state->journal.write(&record, sizeof record);
}

void on_call(CUpti_CallbackId id, const CUpti_CallbackData *data) {
    const bool entering = data->callbackSite == CUPTI_API_ENTER;
    switch (id) {
        case CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch:
        case CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch_ptsz:
            if (!entering) graph_launched(data);
            return;
        case CUPTI_DRIVER_TRACE_CBID_cuMemFree_v2:
        case CUPTI_DRIVER_TRACE_CBID_cuMemFreeAsync:
        case CUPTI_DRIVER_TRACE_CBID_cuMemFreeAsync_ptsz:
        case CUPTI_DRIVER_TRACE_CBID_cuMemFreeHost:
        case CUPTI_DRIVER_TRACE_CBID_cuMemHostUnregister:
        case CUPTI_DRIVER_TRACE_CBID_cuMemUnmap:
        case CUPTI_DRIVER_TRACE_CBID_cuMemPoolDestroy:
        case CUPTI_DRIVER_TRACE_CBID_cuIpcCloseMemHandle:
            if (!entering) state->allocations.forget();
            return;
        case CUPTI_DRIVER_TRACE_CBID_cuLibraryUnload:
            if (entering) state->functions.forget();
            return;
        default:
            if (entering) enter(id, data);
            else leave(id, data);
    }
}

void on_resource(CUpti_CallbackId id, const CUpti_ResourceData *data) {
    switch (id) {
        case CUPTI_CBID_RESOURCE_MODULE_LOADED: {
            const auto *module = static_cast<const CUpti_ModuleResourceData *>(data->resourceDescriptor);
            if (module) state->images.loaded(module->pCubin, module->cubinSize);
            return;
        }
        case CUPTI_CBID_RESOURCE_MODULE_UNLOAD_STARTING:
        case CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING:
            state->functions.forget();
            state->allocations.forget();
            return;
        case CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED: {
            const auto *graph = static_cast<const CUpti_GraphData *>(data->resourceDescriptor);
            Call &mine = call();
            if (graph && mine.launching) cuptiGetGraphNodeId(graph->node, &mine.node);
            return;
        }
        case CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED: {
            const auto *graph = static_cast<const CUpti_GraphData *>(data->resourceDescriptor);
            if (graph == nullptr || graph->nodeType != CU_GRAPH_NODE_TYPE_KERNEL) return;
            format::Clone record{{0, format::CLONE, 0}, 0, 0};
            if (cuptiGetGraphNodeId(graph->originalNode, &record.original) == CUPTI_SUCCESS &&
                cuptiGetGraphNodeId(graph->node, &record.node) == CUPTI_SUCCESS) {
                state->journal.write(&record, sizeof record);
            }
            return;
        }
        default:
            return;
    }
}

void CUPTIAPI on_callback(void *, CUpti_CallbackDomain domain, CUpti_CallbackId id, const void *data) {
    if (!at_work.load(std::memory_order_relaxed)) return;
    if (domain == CUPTI_CB_DOMAIN_DRIVER_API) {
        if (call().nested) return;
        on_call(id, static_cast<const CUpti_CallbackData *>(data));
    } else if (domain == CUPTI_CB_DOMAIN_RESOURCE) {
        // images that we load ourselves are none of the application's
        if (id == CUPTI_CBID_RESOURCE_MODULE_LOADED && call().nested && !state->config.rules.empty()) return;
        on_resource(id, static_cast<const CUpti_ResourceData *>(data));
    }
}

void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most) {
    *buffer = static_cast<uint8_t *>(memalign(8, ACTIVITY_BYTES));
    *size = *buffer ? ACTIVITY_BYTES : 0;
    *most = 0;
}

// The log's number for a kernel's name.
uint32_t name_of(const char *name) {
    static std::mutex lock;
    static auto *known = new std::map<std::string, uint32_t, std::less<>>;
    const std::string_view text(name ? name : "");
    std::lock_guard hold(lock);
    auto found = known->find(text);
    if (found != known->end()) return found->second;
    uint32_t id = uint32_t(known->size() + 1);
    const Config &config = state->config;
    bool watched = config.only.empty();
    for (const std::string &one : config.only) watched |= one == text;
    for (const Rule &rule : config.rules) watched |= rule.entry == text;
    if (watched) {
        format::Text record{{0, format::NAME, 0}, id, uint32_t(text.size())};
        state->journal.write(&record, sizeof record, text.data(), text.size());
    } else {
        id = 0;
    }
    known->emplace(std::string(text), id);
    return id;
}

void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t, size_t valid) {
    CUpti_Activity *one = nullptr;
    while (at_work.load() && valid && cuptiActivityGetNextRecord(buffer, valid, &one) == CUPTI_SUCCESS) {
        if (one->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL && one->kind != CUPTI_ACTIVITY_KIND_KERNEL) continue;
        const auto *k = reinterpret_cast<const CUpti_ActivityKernel9 *>(one);  // later ones only add fields behind
        format::Time record{};
        record.head.kind = format::TIME;
        record.name = name_of(k->name);
        if (record.name == 0) continue;
        record.start_ns = k->start;
        record.end_ns = k->end;
        record.node = k->graphNodeId;
        record.correlation = k->correlationId;
        record.device = k->deviceId;
        record.context = k->contextId;
        record.stream = k->streamId;
        record.graph = k->graphId;
        const int32_t grid[3] = {k->gridX, k->gridY, k->gridZ}, block[3] = {k->blockX, k->blockY, k->blockZ};
        const uint32_t cluster[3] = {k->clusterX, k->clusterY, k->clusterZ};
        for (int i = 0; i < 3; ++i) {
            record.grid[i] = uint32_t(grid[i]);
            record.block[i] = uint32_t(block[i]);
            record.cluster[i] = cluster[i];
        }
        record.static_bytes = uint32_t(k->staticSharedMemory);
        record.dynamic_bytes = uint32_t(k->dynamicSharedMemory);
        record.registers = k->registersPerThread;
        record.from_device = k->launchType == CUPTI_ACTIVITY_LAUNCH_TYPE_CBL_COMMANDLIST ? 2 : 0;
        state->journal.write(&record, sizeof record);
    }
    size_t dropped = 0;
    if (at_work.load() && cuptiActivityGetNumDroppedRecords(context, stream, &dropped) == CUPTI_SUCCESS && dropped) {
        state->journal.add(&format::Header::times_dropped, dropped);
    }
    free(buffer);
}

// Asks for device times again and again: CUPTI's own period gives whole buffers only, and a process that is killed
// would lose all of a short run.
struct Flusher {
    pthread_t thread{};
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t over = PTHREAD_COND_INITIALIZER;
    bool running = false, ending = false;

    void start() {
        // none of the application's signals may be handled here
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        running = pthread_create(&thread, nullptr, &Flusher::run, this) == 0;
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        if (!running) state->journal.note(false, "no periodic flush of device times");
    }

    void stop() {
        if (!running) return;
        pthread_mutex_lock(&lock);
        ending = true;
        pthread_cond_signal(&over);
        pthread_mutex_unlock(&lock);
        pthread_join(thread, nullptr);
        running = false;
    }

    static void *run(void *me) {
        auto *self = static_cast<Flusher *>(me);
        pthread_mutex_lock(&self->lock);
        while (!self->ending) {
            timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += FLUSH_MS * 1000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            if (pthread_cond_timedwait(&self->over, &self->lock, &until) != ETIMEDOUT) continue;
            pthread_mutex_unlock(&self->lock);
            cuptiActivityFlushAll(0);
            pthread_mutex_lock(&self->lock);
        }
        pthread_mutex_unlock(&self->lock);
        return nullptr;
    }
};

Flusher flusher;

void finish() {
    if (!at_work.load()) return;
    flusher.stop();
    if (state->config.times) cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    state->journal.header()->finished = 1;
}

// A forked child has no CUDA of its own, and the log is its parent's.
void forked() { at_work.store(false); }

std::string whole(const char *path) {
    std::ifstream file(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

void introduce() {
    char exe[4096];
    const ssize_t length = readlink("/proc/self/exe", exe, sizeof exe);
    const std::string command = whole("/proc/self/cmdline");
    uint32_t cupti = 0;
    cuptiGetVersion(&cupti);
    format::Process record{};
    record.head.kind = format::PROCESS;
    record.driver = state->driver.version();
    record.cupti = cupti;
    record.exe_bytes = length > 0 ? uint32_t(length) : 0;
    record.command_bytes = uint32_t(command.size());
    state->journal.write(&record, sizeof record, exe, record.exe_bytes, command.data(), command.size());
}

std::string reason(const char *what, CUptiResult result) {
    const char *text = nullptr;
    cuptiGetResultString(result, &text);
    return std::string(what) + ": " + (text ? text : std::to_string(result));
}

bool subscribe() {
    CUptiResult result = cuptiSubscribe(&state->subscriber, on_callback, nullptr);
    if (result != CUPTI_SUCCESS) {
        state->journal.note(true, reason("CUPTI refuses to be subscribed to", result));
        return false;
    }
    static const CUpti_CallbackId launches[] = {
        CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel_ptsz,
        CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx, CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz,
        CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel, CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel_ptsz,
        CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch, CUPTI_DRIVER_TRACE_CBID_cuGraphLaunch_ptsz,
    };
    static const CUpti_CallbackId others[] = {
        CUPTI_DRIVER_TRACE_CBID_cuGraphAddKernelNode_v2, CUPTI_DRIVER_TRACE_CBID_cuGraphKernelNodeSetParams_v2,
        CUPTI_DRIVER_TRACE_CBID_cuGraphExecKernelNodeSetParams_v2, CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode,
        CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode_v2, CUPTI_DRIVER_TRACE_CBID_cuGraphNodeSetParams,
        CUPTI_DRIVER_TRACE_CBID_cuGraphExecNodeSetParams, CUPTI_DRIVER_TRACE_CBID_cuMemFree_v2,
        CUPTI_DRIVER_TRACE_CBID_cuMemFreeAsync, CUPTI_DRIVER_TRACE_CBID_cuMemFreeAsync_ptsz,
        CUPTI_DRIVER_TRACE_CBID_cuMemFreeHost, CUPTI_DRIVER_TRACE_CBID_cuMemHostUnregister,
        CUPTI_DRIVER_TRACE_CBID_cuMemUnmap, CUPTI_DRIVER_TRACE_CBID_cuMemPoolDestroy,
        CUPTI_DRIVER_TRACE_CBID_cuIpcCloseMemHandle, CUPTI_DRIVER_TRACE_CBID_cuLibraryUnload,
    };
    static const CUpti_CallbackId resources[] = {
        CUPTI_CBID_RESOURCE_MODULE_LOADED, CUPTI_CBID_RESOURCE_MODULE_UNLOAD_STARTING,
        CUPTI_CBID_RESOURCE_CONTEXT_DESTROY_STARTING, CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED,
        CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED,
    };
    auto enable = [&](CUpti_CallbackDomain domain, CUpti_CallbackId id) {
        result = cuptiEnableCallback(1, state->subscriber, domain, id);
        if (result != CUPTI_SUCCESS) {
            state->journal.note(true, reason(("callback " + std::to_string(id)).c_str(), result));
        }
    };
    for (CUpti_CallbackId id : launches) enable(CUPTI_CB_DOMAIN_DRIVER_API, id);
    for (CUpti_CallbackId id : others) enable(CUPTI_CB_DOMAIN_DRIVER_API, id);
    for (CUpti_CallbackId id : resources) enable(CUPTI_CB_DOMAIN_RESOURCE, id);
    return true;
}

void time_kernels() {
    CUptiResult result = cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
    if (result == CUPTI_SUCCESS) result = cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
    if (result != CUPTI_SUCCESS) {
        state->journal.note(true, reason("device times cannot be recorded", result));
        return;
    }
    flusher.start();
}

}  // namespace

// Called by the driver while it starts. It never fails: 1 lets the application go on in every case.
extern "C" __attribute__((visibility("default"))) int InitializeInjection(void) {
    const char *path = std::getenv("WARPSMITH_INJECT");
    if (path == nullptr || state != nullptr) return 1;
    Config config;
    if (!config.read(path).empty() || config.rules.size() > format::MOST_RULES) return 1;
    auto *made = new State(std::move(config));
    if (!made->journal.open(made->config.folder, made->config.limit)) return 1;
    made->journal.header()->mode = 1;
    state = made;
    if (!state->driver.load()) {
        state->journal.note(true, "this driver does not say what a kernel's parameters are: CUDA 12.4 or newer is needed");
        return 1;
    }
    introduce();
    if (!subscribe()) return 1;
    pthread_atfork(nullptr, nullptr, forked);
    std::atexit(finish);
    at_work.store(true);
    if (state->config.times) time_kernels();
    return 1;
}

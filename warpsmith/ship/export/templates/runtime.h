/* Expressions as warpsmith's plans understand them: integers are exact, or the plan is given up (*bad). */
static inline int64_t @P@_add(int64_t a, int64_t b, int *bad) { int64_t r; *bad |= __builtin_add_overflow(a, b, &r); return r; }
static inline int64_t @P@_sub(int64_t a, int64_t b, int *bad) { int64_t r; *bad |= __builtin_sub_overflow(a, b, &r); return r; }
static inline int64_t @P@_mul(int64_t a, int64_t b, int *bad) { int64_t r; *bad |= __builtin_mul_overflow(a, b, &r); return r; }
static inline int64_t @P@_floordiv(int64_t a, int64_t b, int *bad) {
    if (b == 0 || (a == INT64_MIN && b == -1)) { *bad = 1; return 0; }
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
static inline int64_t @P@_mod(int64_t a, int64_t b, int *bad) {
    if (b == 0 || (a == INT64_MIN && b == -1)) { *bad |= b == 0; return 0; }
    return a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
}
static inline int64_t @P@_pow(int64_t a, int64_t b, int *bad) {
    int64_t r = 1;
    if (b < 0 || b > 64) { *bad = 1; return 0; }
    for (int64_t i = 0; i < b; i++) r = @P@_mul(r, a, bad);
    return r;
}
static inline int64_t @P@_ceil_div(int64_t a, int64_t b, int *bad) { return @P@_sub(0, @P@_floordiv(@P@_sub(0, a, bad), b, bad), bad); }
static inline int64_t @P@_round_up(int64_t a, int64_t b, int *bad) { return @P@_mul(@P@_ceil_div(a, b, bad), b, bad); }
static inline int64_t @P@_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t @P@_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t @P@_abs(int64_t a, int *bad) { return a < 0 ? @P@_sub(0, a, bad) : a; }
static inline int64_t @P@_next_pow2(int64_t a, int *bad) {
    int64_t r = 1;
    if (a > (INT64_C(1) << 62)) { *bad = 1; return 0; }
    while (r < a) r <<= 1;
    return r;
}
static inline double @P@_divide(double a, double b, int *bad) { if (b == 0) { *bad = 1; return 0; } return a / b; }
static inline double @P@_ffloordiv(double a, double b, int *bad) { return __builtin_floor(@P@_divide(a, b, bad)); }
static inline int64_t @P@_whole(double a, int *bad) {
    if (!(a > -9.2e18 && a < 9.2e18) || a != (double)(int64_t)a) { *bad = 1; return 0; }
    return (int64_t)a;
}

typedef struct {
    int on;
    uint32_t grid[3], block[3], cluster[3], shared;
} @P@_launch;

typedef struct {
    unsigned char bytes[128] __attribute__((aligned(64)));
    uint64_t dims[5], strides[4];
    uint32_t box[5], element_strides[5];
    const void *at;
} @P@_map;

/* What was decided of one guard key. */
typedef struct {
    int64_t key[@P@_KEYS];
    int used, code, row;
    int64_t bytes[@P@_TENSORS], scratch[@P@_SCRATCH + 1], scratch_bytes;
    @P@_launch launch[@P@_LAUNCHES];
    @P@_map map[@P@_MAPS];
} @P@_entry;

typedef struct {
    int state, capability, sm_count, most_shared, loaded[@P@_ROWS];
    uint32_t shared[@P@_ROWS][@P@_KERNELS];
    void *context, *function[@P@_ROWS][@P@_KERNELS];
} @P@_device;

#define @P@_MOST_DEVICES 16
static @P@_device @P@_devices[2][@P@_MOST_DEVICES];
static pthread_mutex_t @P@_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t @P@_epoch = 1;
static int @P@_allowed[16];
static int @P@_allowed_count;
static int64_t @P@_hits, @P@_fallbacks;

#if @P@_HAS_HOST
#ifndef __cplusplus
extern int memfd_create(const char *name, unsigned flags);
#endif
/* Whether the kernel's list of this processor's instruction sets holds every one of `wanted`. */
static inline int @P@_processor_has(const char *wanted) {
    static char flags[8192];
    static int known;
    if (!__atomic_load_n(&known, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&@P@_lock);
        FILE *file = known ? 0 : fopen("/proc/cpuinfo", "r");
        char line[8192];
        while (file && fgets(line, sizeof line, file)) {
            if (strncmp(line, "flags", 5) == 0) {
                char *at = strchr(line, ':');
                size_t length = at ? strlen(at + 1) : 0;
                if (length) { memcpy(flags, at + 1, length); flags[length - 1] = ' '; flags[length] = 0; }
                break;
            }
        }
        if (file) fclose(file);
        __atomic_store_n(&known, 1, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&@P@_lock);
    }
    while (*wanted) {
        char word[64] = " ";
        size_t n = 1;
        while (*wanted && *wanted != ' ' && n < sizeof word - 2) word[n++] = *wanted++;
        word[n] = ' ';
        if (!strstr(flags, word)) return 0;
        while (*wanted == ' ') wanted++;
    }
    return 1;
}
/* The released library, from the very bytes that were measured: they never touch a disk. */
static inline void *@P@_open(const unsigned char *bytes, size_t size, const char *symbol) {
    char path[64];
    int file = memfd_create("@P@", 1);
    if (file < 0) return 0;
    size_t at = 0;
    while (at < size) {
        ssize_t wrote = write(file, bytes + at, size - at);
        if (wrote <= 0) { close(file); return 0; }
        at += (size_t)wrote;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    close(file);
    return library ? dlsym(library, symbol) : 0;
}
#endif

#if @P@_HAS_CUDA
/* The driver's interface, as far as it is needed; its library is loaded at run time, so no toolkit is needed. */
typedef struct { int id; int padding; union { unsigned char all[64]; uint32_t dims[3]; } value; } @P@_attribute;
typedef struct {
    uint32_t grid[3], block[3], shared;
    void *stream;
    @P@_attribute *attributes;
    uint32_t count;
} @P@_config;
static struct {
    int (*init)(unsigned), (*count)(int *), (*get)(int *, int), (*attribute)(int *, int, int);
    int (*retain)(void **, int), (*current)(void **), (*push)(void *), (*pop)(void **);
    int (*load)(void **, const void *, void *, void **, unsigned, void *, void **, unsigned);
    int (*kernel)(void **, void *, const char *), (*function)(void **, void *), (*set)(void *, int, int);
    int (*launch)(const @P@_config *, void *, void **, void **), (*name)(int, const char **);
    int (*encode)(void *, int, uint32_t, void *, const uint64_t *, const uint64_t *, const uint32_t *, const uint32_t *,
                  int, int, int, int);
} @P@_cu;
static int @P@_cuda_state; /* 0 unknown, 1 works, -1 does not */

static inline int @P@_cuda(void) {
    int state = __atomic_load_n(&@P@_cuda_state, __ATOMIC_ACQUIRE);
    if (state) return state > 0;
    pthread_mutex_lock(&@P@_lock);
    if (!@P@_cuda_state) {
        void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
        const struct { const char *name; void *at; } wanted[] = {
            {"cuInit", &@P@_cu.init}, {"cuDeviceGetCount", &@P@_cu.count}, {"cuDeviceGet", &@P@_cu.get},
            {"cuDeviceGetAttribute", &@P@_cu.attribute}, {"cuDevicePrimaryCtxRetain", &@P@_cu.retain},
            {"cuCtxGetCurrent", &@P@_cu.current}, {"cuCtxPushCurrent_v2", &@P@_cu.push},
            {"cuCtxPopCurrent_v2", &@P@_cu.pop}, {"cuLibraryLoadData", &@P@_cu.load},
            {"cuLibraryGetKernel", &@P@_cu.kernel}, {"cuKernelGetFunction", &@P@_cu.function},
            {"cuFuncSetAttribute", &@P@_cu.set}, {"cuLaunchKernelEx", &@P@_cu.launch},
            {"cuGetErrorName", &@P@_cu.name}, {"cuTensorMapEncodeTiled", &@P@_cu.encode},
        };
        int works = library != 0;
        for (size_t i = 0; library && i < sizeof wanted / sizeof *wanted; i++) {
            void *symbol = dlsym(library, wanted[i].name);
            memcpy(wanted[i].at, &symbol, sizeof symbol);
            works &= symbol != 0;
        }
        works = works && @P@_cu.init(0) == 0;
        __atomic_store_n(&@P@_cuda_state, works ? 1 : -1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&@P@_lock);
    return @P@_cuda_state > 0;
}

/* Load the kernels of one row on one device, once: the cubin's own bytes. */
static inline int @P@_load_cubin(@P@_device *device, int ordinal, int row, const unsigned char *bytes, const char *const *symbols,
                          const size_t *offsets, int count, int cluster) {
    void *was;
    if (!device->context && @P@_cu.retain(&device->context, ordinal)) { device->context = 0; return @P@_LOAD; }
    if (@P@_cu.push(device->context)) return @P@_LOAD;
    int failed = 0;
    for (int i = 0; i < count && !failed; i++) {
        void *library, *kernel;
        failed = @P@_cu.load(&library, bytes + offsets[i], 0, 0, 0, 0, 0, 0) || @P@_cu.kernel(&kernel, library, symbols[i]);
        if (failed) break;
        failed = @P@_cu.function(&device->function[row][i], kernel);
        if (!failed && cluster) failed = @P@_cu.set(device->function[row][i], 14, 1); /* more than 8 blocks, if asked for */
    }
    @P@_cu.pop(&was);
    return failed ? @P@_LOAD : 0;
}

static inline int @P@_start(@P@_device *device, int row, int kernel, const @P@_launch *launch, void **parameters, void *stream) {
    @P@_attribute cluster = {4, 0, {{0}}};
    @P@_config config = {{launch->grid[0], launch->grid[1], launch->grid[2]},
                         {launch->block[0], launch->block[1], launch->block[2]},
                         launch->shared, stream, &cluster, launch->cluster[0] ? 1u : 0u};
    memcpy(cluster.value.dims, launch->cluster, sizeof launch->cluster);
    if (launch->shared > 49152 && launch->shared > device->shared[row][kernel]) { /* beyond 48 KiB it is opted into */
        int refused = @P@_cu.set(device->function[row][kernel], 8, (int)launch->shared);
        if (refused) return refused;
        device->shared[row][kernel] = launch->shared;
    }
    return @P@_cu.launch(&config, device->function[row][kernel], parameters, 0);
}

static inline int @P@_enter(@P@_device *device) {
    void *context = 0;
    if (@P@_cu.current(&context) == 0 && context == device->context) return 0;
    return @P@_cu.push(device->context) ? -1 : 1;
}

static inline void @P@_leave(int entered) {
    void *was;
    if (entered > 0) @P@_cu.pop(&was);
}
#endif

/* A device as the guard sees it; loads nothing. */
static inline @P@_device *@P@_device_of(int type, int ordinal) {
    int kind = type == @P@_CUDA;
    if ((type != @P@_CPU && !kind) || ordinal < 0 || ordinal >= @P@_MOST_DEVICES) return 0;
    @P@_device *device = &@P@_devices[kind][ordinal];
    if (__atomic_load_n(&device->state, __ATOMIC_ACQUIRE)) return device;
#if @P@_HAS_CUDA
    if (kind) {
        int handle, major, minor, count = 0;
        if (!@P@_cuda() || @P@_cu.count(&count) || ordinal >= count || @P@_cu.get(&handle, ordinal)) return 0;
        if (@P@_cu.attribute(&major, 75, handle) || @P@_cu.attribute(&minor, 76, handle)) return 0;
        if (@P@_cu.attribute(&device->sm_count, 16, handle) || @P@_cu.attribute(&device->most_shared, 97, handle)) return 0;
        device->capability = major * 10 + minor;
    }
#else
    if (kind) return 0;
#endif
    __atomic_store_n(&device->state, 1, __ATOMIC_RELEASE);
    return device;
}

/* Why no device could carry a launch out; the judge's own limits. */
static inline int @P@_possible(const @P@_device *device, const int64_t *grid, const int64_t *block, const int64_t *cluster,
                        int64_t shared, @P@_launch *made) {
    static const int64_t blocks[3] = {2147483647, 65535, 65535}, threads[3] = {1024, 1024, 64};
    int64_t all = 1, together = 1;
    for (int i = 0; i < 3; i++) {
        if (grid[i] < 1 || grid[i] > blocks[i] || block[i] < 1 || block[i] > threads[i]) return 0;
        if (cluster[0] && (cluster[i] < 1 || grid[i] % cluster[i])) return 0;
        all *= block[i];
        together *= cluster[0] ? cluster[i] : 1;
        made->grid[i] = (uint32_t)grid[i];
        made->block[i] = (uint32_t)block[i];
        made->cluster[i] = (uint32_t)cluster[i];
    }
    made->shared = (uint32_t)shared;
    return all <= 1024 && together <= 16 && shared >= 0 && shared <= device->most_shared;
}

static inline int @P@_is_allowed(int capability) {
    for (int i = 0; i < @P@_allowed_count; i++)
        if (@P@_allowed[i] == capability) return 1;
    return 0;
}

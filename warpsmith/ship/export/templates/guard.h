static inline int @P@_load(@P@_device *device, int ordinal, int row) {
    int state = __atomic_load_n(&device->loaded[row], __ATOMIC_ACQUIRE);
    if (state) return state > 0 ? 0 : @P@_LOAD;
    pthread_mutex_lock(&@P@_lock);
    if (!device->loaded[row]) {
        int failed = @P@_load_row(row, device, ordinal);
        __atomic_store_n(&device->loaded[row], failed ? -1 : 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&@P@_lock);
    return device->loaded[row] > 0 ? 0 : @P@_LOAD;
}

/* The first row that covers the call: the table is in order of choice. */
static inline void @P@_decide(const @P@_call *call, int64_t alignment, int load, @P@_entry *entry) {
    @P@_device *device = @P@_device_of(call->device_type, call->device);
    entry->row = -1;
    entry->code = @P@_DEVICE;
    @P@_sizes(call, entry->bytes);
    for (int row = 0; device && row < @P@_ROWS; row++) {
        int code = @P@_fits(row, call, device, alignment);
        if (!code) code = @P@_plan(row, call, device, entry);
        if (!code && load) code = @P@_load(device, call->device, row);
        if (!code) {
            entry->row = row;
            entry->code = 0;
            return;
        }
        if (code > entry->code) entry->code = code;
    }
}

static __thread @P@_entry @P@_table[32];
static __thread @P@_entry *@P@_last;

/* The decision for a call, from this thread's table where its key was met before. 0 is a hit, else a reason. */
static inline int @P@_prepare(const @P@_call *call, @P@_entry **found) {
    int64_t key[@P@_KEYS], alignment = @P@_key(call, key);
    @P@_entry *entry = @P@_last;
    if (!entry || memcmp(entry->key, key, sizeof key)) {
        uint64_t hash = 0;
        for (int i = 0; i < @P@_KEYS; i++) hash = (hash ^ (uint64_t)key[i]) * UINT64_C(0x9E3779B97F4A7C15);
        entry = &@P@_table[hash >> 59];
        if (!entry->used || memcmp(entry->key, key, sizeof key)) {
            memset(entry, 0, sizeof *entry);
            memcpy(entry->key, key, sizeof key);
            @P@_decide(call, alignment, 1, entry);
            entry->used = 1;
        }
        @P@_last = entry;
    }
    *found = entry;
    if (entry->code) return entry->code;
    return @P@_overlap(call, entry->bytes) ? @P@_OVERLAP : 0;
}

/* ---- for callers ---- */

/* Why a call is not covered: text for a code of @P@_covers or @P@_run. */
static inline const char *@P@_reason(int code) {
    static const char *const texts[] = {@REASONS@};
    return code >= 0 && code < (int)(sizeof texts / sizeof *texts) ? texts[code] : "the driver refused the launch";
}

/* 0 where a row of the table covers the call, else the reason. Launches nothing and loads nothing. */
static inline int @P@_covers(const @P@_call *call) {
    @P@_entry entry;
    int64_t key[@P@_KEYS];
    memset(&entry, 0, sizeof entry);
    @P@_decide(call, @P@_key(call, key), 0, &entry);
    if (entry.code) return entry.code;
    return @P@_overlap(call, entry.bytes) ? @P@_OVERLAP : 0;
}

/* Bytes of scratch memory that @P@_run needs for this call, aligned to 256. */
static inline int64_t @P@_scratch_bytes(const @P@_call *call) {
    @P@_entry *entry;
    return @P@_prepare(call, &entry) ? 0 : entry->scratch_bytes;
}

/* Run the kernel on `stream` (a CUstream; ignored on a processor). 0: done. Positive: a reason, nothing was launched, and
   the caller goes its own way. Negative: the driver's error code, negated. */
static inline int @P@_run(const @P@_call *call, void *stream) {
    @P@_entry *entry;
    int code = @P@_prepare(call, &entry);
    if (!code && entry->scratch_bytes > call->scratch_bytes) code = @P@_ALLOCATOR;
    if (!code) code = @P@_launch_row(entry->row, call, @P@_device_of(call->device_type, call->device), entry, stream);
    __atomic_fetch_add(code == 0 ? &@P@_hits : &@P@_fallbacks, 1, __ATOMIC_RELAXED);
    return code;
}

/* Let variants for this compute capability (90 for sm_90) be chosen that were compiled, not measured. */
static inline void @P@_allow_unmeasured(int capability) {
    pthread_mutex_lock(&@P@_lock);
    if (!@P@_is_allowed(capability) && @P@_allowed_count < 16) @P@_allowed[@P@_allowed_count++] = capability;
    __atomic_fetch_add(&@P@_epoch, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&@P@_lock);
}

/* Load now what would be loaded at the first call on this device. Number of rows, or -1 where none fits. */
static inline int @P@_warm(int device_type, int ordinal) {
    @P@_device *device = @P@_device_of(device_type, ordinal);
    int loaded = 0, fit = 0;
    for (int row = 0; device && row < @P@_ROWS; row++) {
        if (@P@_fits_device(row, device_type, device)) continue;
        fit = 1;
        loaded += @P@_load(device, ordinal, row) == 0;
    }
    return fit ? loaded : -1;
}

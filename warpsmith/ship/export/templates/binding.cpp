// The functions that tvm-ffi calls, over @HEADER@. Generated; see the header for the guard table.
#include <tvm/ffi/c_api.h>
#include <tvm/ffi/extra/c_env_api.h>

#include "@HEADER@"

namespace {

const DLTensor *tensor(const TVMFFIAny &value) {
    if (value.type_index == kTVMFFITensor)  // a tensor object has its DLTensor behind the object's head
        return reinterpret_cast<const DLTensor *>(reinterpret_cast<const char *>(value.v_obj) + sizeof(TVMFFIObject));
    return value.type_index == kTVMFFIDLTensorPtr ? static_cast<const DLTensor *>(value.v_ptr) : nullptr;
}

bool number(const TVMFFIAny &value, double *out) {
    if (value.type_index == kTVMFFIFloat) *out = value.v_float64;
    else if (value.type_index == kTVMFFIInt || value.type_index == kTVMFFIBool) *out = (double)value.v_int64;
    else return false;
    return true;
}

bool whole(const TVMFFIAny &value, int64_t *out) {
    if (value.type_index != kTVMFFIInt) return false;
    *out = value.v_int64;
    return true;
}

int element(const DLDataType &type) {
    if (type.lanes != 1) return 0;
    switch (type.code << 8 | type.bits) {
@ELEMENTS@
    }
    return 0;
}

bool contiguous(const DLTensor *t) {
    if (!t->strides) return true;
    int64_t expected = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->strides[i] != expected) return false;
        expected *= t->shape[i];
    }
    return true;
}

// Whether a tensor has the rank of the task, or more leading dimensions that fold into the first.
bool ranked(const DLTensor *t, int rank, bool folds) { return t->ndim == rank || (folds && t->ndim > rank); }

int64_t extent(const DLTensor *t, int rank, int at) {
    if (t->ndim < rank) return -1;
    int extra = t->ndim - rank;
    int64_t all = t->shape[at + extra];
    for (int i = 0; at == 0 && i < extra; i++) all *= t->shape[i];
    return all;
}

int raise(const char *kind, const char *what) {
    TVMFFIErrorSetRaisedFromCStr(kind, what);
    return -1;
}

int answer(TVMFFIAny *result, int64_t value) {
    result->type_index = kTVMFFIInt;
    result->zero_padding = 0;
    result->v_int64 = value;
    return 0;
}

inline int unpack(const TVMFFIAny *args, int32_t count, @P@_call *call, const bool checked) {
    if (count != @COUNT@) return @P@_ARGUMENT;
    call->scratch = nullptr;
    call->scratch_bytes = 0;
@UNPACK@
}

// Scratch memory of the framework that called, given back behind the launch: the same stream reuses it in order.
struct Scratch {
    TVMFFIObjectHandle owner = nullptr;
    bool take(@P@_call *call, int64_t bytes) {
        int64_t shape[1] = {bytes + 256}, strides[1] = {1};
        DLTensor wanted{};
        wanted.device = {static_cast<DLDeviceType>(call->device_type), call->device};
        wanted.ndim = 1;
        wanted.dtype = {kDLUInt, 8, 1};
        wanted.shape = shape;
        wanted.strides = strides;
        if (!TVMFFIEnvGetDLPackManagedTensorAllocator()) return false;
        if (TVMFFIEnvTensorAlloc(&wanted, &owner)) return false;
        TVMFFIAny value{};
        value.type_index = kTVMFFITensor;
        value.v_obj = static_cast<TVMFFIObject *>(owner);
        uintptr_t at = reinterpret_cast<uintptr_t>(tensor(value)->data);
        call->scratch = reinterpret_cast<void *>((at + 255) / 256 * 256);
        call->scratch_bytes = bytes;
        return true;
    }
    ~Scratch() {
        if (owner) TVMFFIObjectDecRef(owner);
    }
};

int launched(const @P@_call &call, int row, @P@_device *device, @P@_entry *entry) {
    void *stream = call.device_type == @P@_CUDA ? TVMFFIEnvGetStream(call.device_type, call.device) : nullptr;
    return @P@_launch_row(row, &call, device, entry, stream);
}

int refused(int code) {
    char said[160];
    const char *name = "";
#if @P@_HAS_CUDA
    if (@P@_cu.name) @P@_cu.name(-code, &name);
#endif
    snprintf(said, sizeof said, "@P@: the driver refused the launch: %s (%d)", name ? name : "", -code);
    return raise("RuntimeError", said);
}

// Guard and launch; 0 is a hit, positive a reason, negative an error of the driver.
int guarded(@P@_call *call, int code) {
    @P@_entry *entry = nullptr;
    if (!code) code = @P@_prepare(call, &entry);
    if (!code) {
        @P@_device *device = @P@_device_of(call->device_type, call->device);
        if (entry->scratch_bytes) {
            Scratch scratch;
            code = scratch.take(call, entry->scratch_bytes) ? launched(*call, entry->row, device, entry) : @P@_ALLOCATOR;
        } else {
            code = launched(*call, entry->row, device, entry);
        }
    }
    __atomic_fetch_add(code == 0 ? &@P@_hits : &@P@_fallbacks, 1, __ATOMIC_RELAXED);
    return code;
}

template <int row>
int direct(const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    static thread_local @P@_entry entry;
    @P@_call call;
    int code = unpack(args, count, &call, false);
    if (code) return raise("TypeError", @P@_reason(code));
    @P@_device *device = @P@_device_of(call.device_type, call.device);
    if (!device || @P@_load(device, call.device, row)) return raise("RuntimeError", @P@_reason(@P@_LOAD));
    for (@P@_map &map : entry.map) map.at = nullptr;  // what they describe may have another shape now
    if (@P@_plan(row, &call, device, &entry)) return raise("ValueError", @P@_reason(@P@_PLAN));
    Scratch scratch;
    if (entry.scratch_bytes && !scratch.take(&call, entry.scratch_bytes))
        return raise("RuntimeError", @P@_reason(@P@_ALLOCATOR));
    code = launched(call, row, device, &entry);
    return code ? refused(code) : answer(result, 0);
}

}  // namespace

extern "C" {

// 0: the kernel was launched. Positive: the code of a reason, and nothing was.
TVM_FFI_DLL_EXPORT int __tvm_ffi_call(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    @P@_call call;
    int code = guarded(&call, unpack(args, count, &call, true));
    return code < 0 ? refused(code) : answer(result, code);
}

// The code of @P@_call without launching or counting.
TVM_FFI_DLL_EXPORT int __tvm_ffi_covers(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    @P@_call call;
    int code = unpack(args, count, &call, true);
    return answer(result, code ? code : @P@_covers(&call));
}

// Inputs and numbers, then outputs; raises where no row covers the call.
TVM_FFI_DLL_EXPORT int __tvm_ffi_@P@(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    static const int order[] = {@REORDER@};
    TVMFFIAny ours[@COUNT@];
    @P@_call call;
    if (count != @COUNT@) return raise("TypeError", @P@_reason(@P@_ARGUMENT));
    for (int i = 0; i < @COUNT@; i++) ours[i] = args[order[i]];
    int code = guarded(&call, unpack(ours, count, &call, true));
    if (code > 0) return raise("ValueError", @P@_reason(code));
    if (code < 0) return refused(code);
    result->type_index = kTVMFFINone;
    return 0;
}

// Count a call that Python sent to the original by itself.
TVM_FFI_DLL_EXPORT int __tvm_ffi_missed(void *, const TVMFFIAny *, int32_t, TVMFFIAny *result) {
    __atomic_fetch_add(&@P@_fallbacks, 1, __ATOMIC_RELAXED);
    return answer(result, 0);
}

// Calls that were hits (0) or fallbacks (1); 2 sets both to zero.
TVM_FFI_DLL_EXPORT int __tvm_ffi_counts(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    int64_t which = 0;
    if (count != 1 || !whole(args[0], &which)) return raise("TypeError", "counts takes one integer");
    if (which == 2) {
        __atomic_store_n(&@P@_hits, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&@P@_fallbacks, 0, __ATOMIC_RELAXED);
    }
    return answer(result, __atomic_load_n(which == 1 ? &@P@_fallbacks : &@P@_hits, __ATOMIC_RELAXED));
}

// The code against a row (0) on a kind of device (1) and its ordinal (2), as far as the device tells.
TVM_FFI_DLL_EXPORT int __tvm_ffi_fits(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    int64_t row, type, ordinal;
    if (count != 3 || !whole(args[0], &row) || !whole(args[1], &type) || !whole(args[2], &ordinal))
        return raise("TypeError", "fits takes three integers");
    @P@_device *device = @P@_device_of((int)type, (int)ordinal);
    return answer(result, device ? @P@_fits_device((int)row, (int)type, device) : @P@_DEVICE);
}

// Load every row that fits a kind of device (0) and ordinal (1); how many, -1 where none does.
TVM_FFI_DLL_EXPORT int __tvm_ffi_warm(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    int64_t type, ordinal;
    if (count != 2 || !whole(args[0], &type) || !whole(args[1], &ordinal))
        return raise("TypeError", "warm takes two integers");
    return answer(result, @P@_warm((int)type, (int)ordinal));
}

// Let variants for a compute capability be chosen that were compiled, not measured.
TVM_FFI_DLL_EXPORT int __tvm_ffi_allow(void *, const TVMFFIAny *args, int32_t count, TVMFFIAny *result) {
    int64_t capability;
    if (count != 1 || !whole(args[0], &capability)) return raise("TypeError", "allow takes one integer");
    @P@_allow_unmeasured((int)capability);
    return answer(result, 0);
}

@DIRECT@

}  // extern "C"

// The driver's ways to launch a kernel, or to put one into a graph, as one shape: what is asked for, and how to change it.
#pragma once

#include <cupti.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "format.h"
#include "functions.h"
#include "snapshots.h"

// The launch that this thread is making, from entry to exit.
struct Call {
    bool nested = false;     // the driver was called by us
    bool launching = false;
    uint64_t node = 0;       // the graph node that was made meanwhile
    uint64_t sequence = 0;
    uint32_t flags = 0, rule = 0;
    Parameters parameters;
    std::vector<Snapshots::Window> windows;
    CUlaunchConfig config{};
    CUDA_KERNEL_NODE_PARAMS node_params{};
    CUgraphNodeParams any_node_params{};
    uint32_t thread = 0;
    CUcontext context = nullptr;
    uint32_t device = 0;
};

// Made once a thread and kept until the process ends: a destructor would run among the application's own.
inline Call &call() {
    static thread_local Call *mine = nullptr;
    if (mine == nullptr) {
        mine = new Call;
        mine->thread = uint32_t(syscall(SYS_gettid));
    }
    return *mine;
}

// One launch, whichever call made it. Numbers are pointers into the call's own arguments, so that they can be changed.
struct Shape {
    CUfunction *function = nullptr, *place = nullptr;  // what is launched, and where another goes
    unsigned *grid[3] = {}, *block[3] = {}, *shared = nullptr;
    uint32_t cluster[3] = {1, 1, 1};
    CUstream stream = nullptr;
    void **values = nullptr, **extra = nullptr;
    uint32_t how = 0, flags = 0, exec = 0;
    CUgraphNode node = nullptr;

    template <typename P>
    void take(P *p) {
        grid[0] = &p->gridDimX, grid[1] = &p->gridDimY, grid[2] = &p->gridDimZ;
        block[0] = &p->blockDimX, block[1] = &p->blockDimY, block[2] = &p->blockDimZ;
        shared = &p->sharedMemBytes;
    }

    bool node_params(CUDA_KERNEL_NODE_PARAMS *p) {
        take(p);
        function = p->func ? &p->func : reinterpret_cast<CUfunction *>(&p->kern);
        place = &p->func;  // which goes before `kern`
        values = p->kernelParams;
        extra = p->extra;
        return true;
    }
};

// Copies what the application owns, when it is to be changed or read: `entering` only.
inline bool understand(CUpti_CallbackId id, const CUpti_CallbackData *data, bool entering, Call *mine, Shape *shape) {
    void *arguments = const_cast<void *>(data->functionParams);
    switch (id) {
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel_ptsz:
            shape->flags |= format::PER_THREAD;
            [[fallthrough]];
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernel: {
            auto *p = static_cast<cuLaunchKernel_params *>(arguments);
            shape->take(p);
            shape->function = shape->place = &p->f;
            shape->stream = p->hStream;
            shape->values = p->kernelParams;
            shape->extra = p->extra;
            shape->how = format::KERNEL;
            return true;
        }
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel_ptsz:
            shape->flags |= format::PER_THREAD;
            [[fallthrough]];
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchCooperativeKernel: {
            auto *p = static_cast<cuLaunchCooperativeKernel_params *>(arguments);
            shape->take(p);
            shape->function = shape->place = &p->f;
            shape->stream = p->hStream;
            shape->values = p->kernelParams;
            shape->how = format::COOPERATIVE;
            shape->flags |= format::COOPERATES;
            return true;
        }
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz:
            shape->flags |= format::PER_THREAD;
            [[fallthrough]];
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx: {
            auto *p = static_cast<cuLaunchKernelEx_params *>(arguments);
            if (p->config == nullptr) return false;
            if (entering) mine->config = *p->config;
            shape->take(&mine->config);
            shape->function = shape->place = &p->f;
            shape->stream = mine->config.hStream;
            shape->values = p->kernelParams;
            shape->extra = p->extra;
            shape->how = format::EXTENDED;
            for (unsigned i = 0; i < mine->config.numAttrs; ++i) {
                const CUlaunchAttribute &one = mine->config.attrs[i];
                if (one.id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
                    shape->cluster[0] = one.value.clusterDim.x;
                    shape->cluster[1] = one.value.clusterDim.y;
                    shape->cluster[2] = one.value.clusterDim.z;
                }
                if (one.id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && one.value.cooperative) {
                    shape->flags |= format::COOPERATES;
                }
            }
            return true;
        }
        case CUPTI_DRIVER_TRACE_CBID_cuGraphAddKernelNode_v2: {
            auto *p = static_cast<cuGraphAddKernelNode_v2_params *>(arguments);
            if (p->nodeParams == nullptr) return false;
            if (entering) mine->node_params = *p->nodeParams;
            else if (p->phGraphNode) shape->node = *p->phGraphNode;
            shape->how = format::NODE_ADDED;
            return shape->node_params(&mine->node_params);
        }
        case CUPTI_DRIVER_TRACE_CBID_cuGraphKernelNodeSetParams_v2: {
            auto *p = static_cast<cuGraphKernelNodeSetParams_v2_params *>(arguments);
            if (p->nodeParams == nullptr) return false;
            if (entering) mine->node_params = *p->nodeParams;
            shape->node = p->hNode;
            shape->how = format::NODE_SET;
            return shape->node_params(&mine->node_params);
        }
        case CUPTI_DRIVER_TRACE_CBID_cuGraphExecKernelNodeSetParams_v2: {
            auto *p = static_cast<cuGraphExecKernelNodeSetParams_v2_params *>(arguments);
            if (p->nodeParams == nullptr) return false;
            if (entering) mine->node_params = *p->nodeParams;
            shape->node = p->hNode;
            cuptiGetGraphExecId(p->hGraphExec, &shape->exec);
            shape->how = format::EXEC_NODE_SET;
            return shape->node_params(&mine->node_params);
        }
        case CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode:
        case CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode_v2: {
            CUgraphNodeParams *said;
            CUgraphNode *made;
            if (id == CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode) {
                auto *p = static_cast<cuGraphAddNode_params *>(arguments);
                said = p->nodeParams, made = p->phGraphNode;
            } else {
                auto *p = static_cast<cuGraphAddNode_v2_params *>(arguments);
                said = p->nodeParams, made = p->phGraphNode;
            }
            if (said == nullptr || said->type != CU_GRAPH_NODE_TYPE_KERNEL) return false;
            if (entering) mine->any_node_params = *said;
            else if (made) shape->node = *made;
            shape->how = format::NODE_ADDED;
            return shape->node_params(reinterpret_cast<CUDA_KERNEL_NODE_PARAMS *>(&mine->any_node_params.kernel));
        }
        case CUPTI_DRIVER_TRACE_CBID_cuGraphNodeSetParams: {
            auto *p = static_cast<cuGraphNodeSetParams_params *>(arguments);
            if (p->nodeParams == nullptr || p->nodeParams->type != CU_GRAPH_NODE_TYPE_KERNEL) return false;
            if (entering) mine->any_node_params = *p->nodeParams;
            shape->node = p->hNode;
            shape->how = format::NODE_SET;
            return shape->node_params(reinterpret_cast<CUDA_KERNEL_NODE_PARAMS *>(&mine->any_node_params.kernel));
        }
        case CUPTI_DRIVER_TRACE_CBID_cuGraphExecNodeSetParams: {
            auto *p = static_cast<cuGraphExecNodeSetParams_params *>(arguments);
            if (p->nodeParams == nullptr || p->nodeParams->type != CU_GRAPH_NODE_TYPE_KERNEL) return false;
            if (entering) mine->any_node_params = *p->nodeParams;
            shape->node = p->hNode;
            cuptiGetGraphExecId(p->hGraphExec, &shape->exec);
            shape->how = format::EXEC_NODE_SET;
            return shape->node_params(reinterpret_cast<CUDA_KERNEL_NODE_PARAMS *>(&mine->any_node_params.kernel));
        }
        default:
            return false;
    }
}

// Makes the call use our copy of what the application passed as constant.
inline void redirect(CUpti_CallbackId id, const CUpti_CallbackData *data, Call *mine) {
    void *arguments = const_cast<void *>(data->functionParams);
    switch (id) {
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx:
        case CUPTI_DRIVER_TRACE_CBID_cuLaunchKernelEx_ptsz:
            static_cast<cuLaunchKernelEx_params *>(arguments)->config = &mine->config;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphAddKernelNode_v2:
            static_cast<cuGraphAddKernelNode_v2_params *>(arguments)->nodeParams = &mine->node_params;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphKernelNodeSetParams_v2:
            static_cast<cuGraphKernelNodeSetParams_v2_params *>(arguments)->nodeParams = &mine->node_params;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphExecKernelNodeSetParams_v2:
            static_cast<cuGraphExecKernelNodeSetParams_v2_params *>(arguments)->nodeParams = &mine->node_params;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode:
            static_cast<cuGraphAddNode_params *>(arguments)->nodeParams = &mine->any_node_params;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphAddNode_v2:
            static_cast<cuGraphAddNode_v2_params *>(arguments)->nodeParams = &mine->any_node_params;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphNodeSetParams:
            static_cast<cuGraphNodeSetParams_params *>(arguments)->nodeParams = &mine->any_node_params;
            break;
        case CUPTI_DRIVER_TRACE_CBID_cuGraphExecNodeSetParams:
            static_cast<cuGraphExecNodeSetParams_params *>(arguments)->nodeParams = &mine->any_node_params;
            break;
        default:
            break;
    }
}

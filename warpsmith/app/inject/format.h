// The log's format, version 1. warpsmith/app/log.py reads it; change both, and the version, together.
//
// One file per process image: a header of one page, then records, little-endian, 8-byte aligned, all in a shared
// mapping of the file. What was stored is in the file, however the process ends: no flush and no signal handler.
// A record's size is stored last, so a size of 0 is the end. Times are those of cuptiGetTimestamp, in ns.
#pragma once

#include <cstdint>

namespace format {

constexpr char MAGIC[8] = {'W', 'S', 'L', 'A', 'U', 'N', 'C', 'H'};
constexpr uint32_t VERSION = 1;
constexpr uint32_t HEADER_BYTES = 4096;
constexpr uint32_t MOST_RULES = 256;

struct Header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint32_t pid;
    uint32_t parent;
    uint64_t started_ns;        // CLOCK_REALTIME
    uint64_t used;              // bytes of the file in use, header included
    uint64_t launches;          // kernel launches that were asked for, recorded or not
    uint64_t graph_launches;
    uint64_t dropped;           // records that did not fit
    uint64_t times_dropped;     // activity records that CUPTI itself dropped
    uint64_t finished;          // 1 once the process ended by exit() or by returning from main
    uint64_t missed;            // launches of a kernel with swap rules, none of which fitted
    uint64_t mode;              // 0 the counter's, 1 the injection library's
    uint64_t hits[MOST_RULES];  // swaps made, by rule
};
static_assert(sizeof(Header) <= HEADER_BYTES);

enum Kind : uint16_t {
    PROCESS = 1, FUNCTION = 2, LAUNCH = 3, GRAPH_LAUNCH = 4, CLONE = 5, TIME = 6, NAME = 7, NOTE = 8,
    SNAPSHOT = 9, MODULE = 10, SWAP = 11, DEVICE = 12,
};

struct Head {
    uint32_t size;  // bytes, this head and the padding included
    uint16_t kind;
    uint16_t unused;
};

struct Process {  // then exe, then the command line with NULs between its words
    Head head;
    uint32_t driver, cupti, exe_bytes, command_bytes;
};

struct Function {  // then parameters x {offset, size}, then the name
    Head head;
    uint32_t id, parameters, name_bytes;
    int32_t static_bytes, registers, local_bytes, max_threads, binary_version;
};

enum How : uint32_t { KERNEL = 0, EXTENDED = 1, COOPERATIVE = 2, NODE_ADDED = 3, NODE_SET = 4, EXEC_NODE_SET = 5 };

enum Flags : uint32_t {
    CAPTURED = 1,     // stream capture: it became the graph node `node`, and did not run
    PACKED = 2,       // parameters came in one buffer
    UNKNOWN = 4,      // the driver did not give the parameters' layout
    COOPERATES = 8,
    SWAPPED = 16,
    PER_THREAD = 32,  // the call was the per-thread-default-stream one
};

struct Launch {  // then the parameter buffer, padded to 8, then buffers x Buffer
    Head head;
    uint64_t sequence;  // counts this process's launches from 0
    uint64_t at_ns, stream, node;
    uint32_t function, correlation, context, device, thread;
    uint32_t grid[3], block[3], cluster[3];
    uint32_t dynamic_bytes, how, flags, result, rule, exec, parameter_bytes, buffers;
};

struct Buffer {
    uint32_t offset;  // of the pointer, in the parameter buffer
    uint32_t unused;
    uint64_t base, size;
};

struct GraphLaunch {
    Head head;
    uint64_t at_ns, stream;
    uint32_t correlation, context, thread, exec, result, unused;
};

struct Clone {
    Head head;
    uint64_t original, node;
};

struct Time {
    Head head;
    uint64_t start_ns, end_ns, node;
    uint32_t correlation, device, context, stream, graph, name;
    uint32_t grid[3], block[3], cluster[3];
    uint32_t static_bytes, dynamic_bytes, registers, from_device;
};

struct Text {  // NAME: then the text. NOTE: id is 0 for a fact, 1 for something that does not work
    Head head;
    uint32_t id, bytes;
};

enum Phase : uint32_t { BEFORE = 0, AFTER = 1 };
enum Role : uint32_t { POINTED_TO = 0, GLOBAL = 1 };

struct Snapshot {  // then the global's name
    Head head;
    uint64_t sequence;  // of the launch
    uint64_t base, size;  // of the allocation, or of the global
    uint64_t address, bytes;  // of what was copied; bytes is 0 where nothing could be
    uint64_t hash[2];  // the file is named HASH0HASH1-BYTES.bin, 16 hexadecimal digits each
    uint32_t phase, role, offset, changed, name_bytes, unused;  // offset: of the pointer in the parameter buffer
};

struct Module {  // the image that holds a captured launch's function
    Head head;
    uint64_t sequence, bytes, hash[2];
    uint32_t candidates, unused;  // images seen that have a kernel of that name
};

struct Swap {  // then a message where result is not 0
    Head head;
    uint32_t rule, function, result, message_bytes;
};

}  // namespace format

// Writes logs as the injection library does, with its own code, and ends as the first argument says.
//
//   journal FOLDER HOW [COUNT] [LIMIT]
#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "journal.h"

static Journal journal;

static void function(uint32_t id, const std::string &name, std::vector<uint32_t> layout) {
    format::Function record{};
    record.head.kind = format::FUNCTION;
    record.id = id;
    record.parameters = uint32_t(layout.size() / 2);
    record.name_bytes = uint32_t(name.size());
    record.static_bytes = 1024;
    record.registers = 32;
    record.max_threads = 1024;
    record.binary_version = 90;
    journal.write(&record, sizeof record, layout.data(), layout.size() * 4, name.data(), name.size());
}

// out + 16 bytes into an allocation of 4096, count, by
static void launch(uint64_t sequence, uint32_t thread) {
    struct {
        uint64_t out;
        int32_t count;
        float by;
    } values{0x7f0000001010u, int32_t(sequence), 0.5f};
    format::Buffer buffer{0, 0, 0x7f0000001000u, 4096};
    format::Launch record{};
    record.head.kind = format::LAUNCH;
    record.sequence = sequence;
    record.at_ns = 1000 + sequence;
    record.function = 1;
    record.correlation = uint32_t(sequence + 100);
    record.thread = thread;
    for (int i = 0; i < 3; ++i) record.grid[i] = uint32_t(i + 2), record.block[i] = uint32_t(8 >> i), record.cluster[i] = 1;
    record.dynamic_bytes = 64;
    record.parameter_bytes = sizeof values;
    record.buffers = 1;
    journal.add(&format::Header::launches);
    journal.write(&record, sizeof record, &values, sizeof values, &buffer, sizeof buffer);
    format::Time time{};
    time.head.kind = format::TIME;
    time.start_ns = 2000 + 10 * sequence;
    time.end_ns = time.start_ns + 5;
    time.correlation = record.correlation;
    time.name = 1;
    for (int i = 0; i < 3; ++i) time.grid[i] = record.grid[i], time.block[i] = record.block[i], time.cluster[i] = 1;
    time.registers = 32;
    journal.write(&time, sizeof time);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const std::string how = argv[2];
    const long count = argc > 3 ? std::atol(argv[3]) : 3;
    if (!journal.open(argv[1], argc > 4 ? std::strtoull(argv[4], nullptr, 10) : uint64_t(1) << 30)) return 3;
    journal.header()->mode = 1;
    format::Process process{};
    process.head.kind = format::PROCESS;
    process.driver = 13000;
    const std::string exe = "/bin/journal", command = std::string("journal\0of two words\0", 21);
    process.exe_bytes = uint32_t(exe.size());
    process.command_bytes = uint32_t(command.size());
    journal.write(&process, sizeof process, exe.data(), exe.size(), command.data(), command.size());
    format::Text name{{0, format::NAME, 0}, 1, 12};
    journal.write(&name, sizeof name, "_Z5scalePfif", 12);
    function(1, "_Z5scalePfif", {0, 8, 8, 4, 12, 4});
    journal.note(false, "a fact");
    journal.note(true, "no good");
    if (how == "threads") {
        std::vector<std::thread> threads;
        for (uint32_t t = 0; t < 4; ++t) {
            threads.emplace_back([=] {
                for (long i = t; i < count; i += 4) launch(uint64_t(i), t);
            });
        }
        for (std::thread &thread : threads) thread.join();
    } else {
        for (long i = 0; i < count; ++i) launch(uint64_t(i), 7);
    }
    if (how == "kill") raise(SIGKILL);
    if (how == "fork") {  // a child that touches the log has lost it, and its parent has not
        const pid_t child = fork();
        if (child == 0) {
            launch(99, 9);
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        launch(uint64_t(count), 7);
        if (!WIFSIGNALED(status)) return 5;
    }
    if (how == "_exit") _exit(4);
    journal.header()->finished = 1;
    return 0;
}

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "clock.hpp"

namespace sentriton {

/// A part of a call that waits for a time or for an event.
class Sleeper : public std::enable_shared_from_this<Sleeper> {
public:
    virtual ~Sleeper() = default;
    /// Its time.
    virtual void woken(Time now) = 0;
    /// The encoder closes.
    virtual void closed() = 0;

private:
    friend class Loop;
    std::optional<Time> due_;
};

/// A request of gRPC that is in flight.
class Operation {
public:
    virtual ~Operation() = default;
    /// It ended.
    virtual void complete() = 0;
    /// Ends it early, on the server too. It still completes.
    virtual void cancel() = 0;
    /// Ignores its end.
    virtual void abandon() = 0;
};

/// The time in which requests may end by themselves when an encoder closes. A cancellation at an answer can crash
/// Triton 24.10 (issue 7368), and the manifest is usually answered in a few milliseconds.
constexpr Duration grace = 100ms;

/// The one thread of an encoder. It waits for the answers of gRPC, for times and for the work of callers. All state of
/// an encoder belongs to it, so no part of the state needs a lock.
class Loop {
public:
    Loop();
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Runs a task in the thread; false if the loop is closed. For every thread.
    bool post(std::function<void()> task);
    /// Whether `close` was called. For every thread.
    bool closing();
    /// Ends all sleepers at once, and abandons all operations. Ends the thread when these have ended, and cancels them
    /// after `grace`. For every thread but the loop's own.
    void close();

    // The rest is only for the loop's thread.

    /// Wakes the sleeper at this time only. Until then, the loop keeps it alive.
    void wake(Sleeper& sleeper, Time at);
    /// Does not wake the sleeper.
    void forget(Sleeper& sleeper);
    /// Stores the operation until it ends. The result is its tag for gRPC.
    void* keep(std::shared_ptr<Operation> operation);

    struct Queue;  // of gRPC
    Queue& queue() { return *queue_; }

private:
    void run();
    bool run_posted();  // false if the loop closes
    void wake_due();
    void end_all();
    void cancel_all();
    void wait();
    void call();

    std::unique_ptr<Queue> queue_;
    std::mutex mutex_;
    std::vector<std::function<void()>> posted_;
    bool called_ = false;  // the thread will run the posted functions
    bool closed_ = false;

    std::map<std::pair<Time, Sleeper*>, std::shared_ptr<Sleeper>> sleepers_;
    std::unordered_map<void*, std::shared_ptr<Operation>> operations_;
    bool ending_ = false;
    std::optional<Time> cancels_at_;
    std::mutex joining_;
    std::thread thread_;
};

}  // namespace sentriton

#include "loop.hpp"

#include "queue.hpp"

namespace sentriton {

Loop::Loop() : queue_(std::make_unique<Queue>()), thread_([this] { run(); }) {}

Loop::~Loop() { close(); }

bool Loop::post(std::function<void()> task) {
    const std::lock_guard lock(mutex_);
    if (closed_) {
        return false;
    }
    posted_.push_back(std::move(task));
    call();
    return true;
}

bool Loop::closing() {
    const std::lock_guard lock(mutex_);
    return closed_;
}

void Loop::close() {
    {
        const std::lock_guard lock(mutex_);
        if (!closed_) {
            closed_ = true;
            call();
        }
    }
    const std::lock_guard lock(joining_);
    if (thread_.joinable()) {
        thread_.join();
    }
}

/// Wakes the thread. The caller holds the mutex.
void Loop::call() {
    if (!called_) {
        called_ = true;
        queue_->bell.Set(&queue_->completions, std::chrono::system_clock::now(), this);
    }
}

void Loop::wake(Sleeper& sleeper, Time at) {
    if (ending_) {
        return;
    }
    std::shared_ptr<Sleeper> kept = sleeper.shared_from_this();
    forget(sleeper);
    sleeper.due_ = at;
    sleepers_.emplace(std::pair(at, &sleeper), std::move(kept));
}

void Loop::forget(Sleeper& sleeper) {
    if (sleeper.due_) {
        const std::pair key(*sleeper.due_, &sleeper);
        sleeper.due_.reset();
        sleepers_.erase(key);
    }
}

void* Loop::keep(std::shared_ptr<Operation> operation) {
    void* tag = operation.get();
    operations_.emplace(tag, std::move(operation));
    return tag;
}

void Loop::run() {
    while (true) {
        if (!run_posted() && !ending_) {
            end_all();
        }
        if (ending_ && operations_.empty()) {
            break;
        }
        if (cancels_at_ && Clock::now() >= *cancels_at_) {
            cancel_all();
        }
        wake_due();
        wait();
    }
    queue_->completions.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_->completions.Next(&tag, &ok)) {
    }
}

bool Loop::run_posted() {
    std::vector<std::function<void()>> tasks;
    bool open = true;
    {
        const std::lock_guard lock(mutex_);
        tasks.swap(posted_);
        open = !closed_;
    }
    for (const auto& task : tasks) {
        task();
    }
    return open;
}

void Loop::wake_due() {
    const Time now = Clock::now();
    std::vector<std::shared_ptr<Sleeper>> due;
    while (!sleepers_.empty() && sleepers_.begin()->first.first <= now) {
        due.push_back(std::move(sleepers_.begin()->second));
        due.back()->due_.reset();
        sleepers_.erase(sleepers_.begin());
    }
    for (const auto& each : due) {
        each->woken(now);
    }
}

void Loop::end_all() {
    std::vector<std::shared_ptr<Sleeper>> all;
    for (auto& [key, sleeper] : sleepers_) {
        sleeper->due_.reset();
        all.push_back(std::move(sleeper));
    }
    sleepers_.clear();
    ending_ = true;
    for (const auto& each : all) {
        each->closed();
    }
    for (const auto& [tag, operation] : operations_) {
        operation->abandon();
    }
    cancels_at_ = Clock::now() + grace;
}

void Loop::cancel_all() {
    cancels_at_.reset();
    for (const auto& [tag, operation] : operations_) {
        operation->cancel();
    }
}

/// Waits for an ended operation, for a call, or for the time of the next sleeper or of the cancellation.
void Loop::wait() {
    const auto now = std::chrono::system_clock::now();
    Duration pause = 60s;
    if (!sleepers_.empty()) {
        pause = std::min<Duration>(pause, sleepers_.begin()->first.first - Clock::now());
    }
    if (cancels_at_) {
        pause = std::min<Duration>(pause, *cancels_at_ - Clock::now());
    }
    void* tag = nullptr;
    bool ok = false;
    const auto until = now + std::chrono::duration_cast<std::chrono::system_clock::duration>(pause);
    if (queue_->completions.AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT) {
        return;
    }
    if (tag == this) {
        const std::lock_guard lock(mutex_);
        called_ = false;
        return;
    }
    const auto found = operations_.find(tag);
    const std::shared_ptr<Operation> ended = std::move(found->second);
    operations_.erase(found);
    ended->complete();
}

}  // namespace sentriton

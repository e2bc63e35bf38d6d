#include "info.hpp"

#include <utility>

#include "core.hpp"
#include "inquiry.hpp"
#include "manifest.hpp"

namespace sentriton {

/// A call that waits for the manifest.
class ManifestWait : public Sleeper {
public:
    ManifestWait(Core& core, std::shared_ptr<Deadline> deadline, Info::Done done)
        : core_(core), deadline_(std::move(deadline)), done_(std::move(done)) {}

    void sleep() { core_.loop.wake(*this, deadline_->end().value_or(Clock::now() + longest_time)); }

    void woken(Time) override { end(deadline_->exceeded(core_.endpoints.url())); }

    void closed() override { end(closed_failure()); }

    void end(Result<std::shared_ptr<Reading>> result) {
        if (const auto done = std::exchange(done_, nullptr)) {
            core_.loop.forget(*this);
            if (std::holds_alternative<std::shared_ptr<Reading>>(result)) {
                deadline_->moved(Clock::now());
            }
            done(std::move(result));
        }
    }

private:
    Core& core_;
    std::shared_ptr<Deadline> deadline_;
    Info::Done done_;
};

namespace {

/// Reads the manifest from each server in turn.
class Search : public std::enable_shared_from_this<Search> {
public:
    using Done = std::function<void(std::shared_ptr<const Manifest>, const Failure*)>;

    Search(Core& core, Done done)
        : inquiry_(core.endpoints, Deadline(core.settings.timeout, core.settings.stall_timeout, Clock::now())),
          done_(std::move(done)) {}

    void go_on() {
        const auto turn = inquiry_.next(Clock::now());
        if (!turn) {
            return done_(nullptr, &inquiry_.failure());
        }
        const auto read = [self = shared_from_this()](std::string_view content) {
            self->manifest_ = std::make_shared<const Manifest>(read_manifest(content));
        };
        turn->endpoint->connection->read_asset_of(
            "manifest.json", turn->allowed, read,
            [self = shared_from_this()](const std::optional<Failure>& failure) { self->answered(failure); });
    }

private:
    void answered(const std::optional<Failure>& failure) {
        if (!failure) {
            return done_(manifest_, nullptr);
        }
        inquiry_.failed(*failure, Clock::now());
        go_on();
    }

    Inquiry inquiry_;
    Done done_;
    std::shared_ptr<const Manifest> manifest_;
};

}  // namespace

void Info::wait(const std::shared_ptr<Deadline>& deadline, Done done) {
    if (core_.loop.closing()) {
        return done(closed_failure());
    }
    // A call without time on a known model fails by its own rules.
    if (reading_ && reading_->manifest) {
        deadline->moved(Clock::now());
        return done(reading_);
    }
    const auto waiting = std::make_shared<ManifestWait>(core_, deadline, std::move(done));
    waiting->sleep();
    if (reading_) {
        reading_->waiting.push_back(waiting);
        return;
    }
    reading_ = std::make_shared<Reading>();
    reading_->waiting.push_back(waiting);
    ask(reading_);
}

void Info::ask(const std::shared_ptr<Reading>& reading) {
    const auto end = [this, reading](std::shared_ptr<const Manifest> manifest, const Failure* failure) {
        reading->manifest = std::move(manifest);
        if (failure != nullptr) {
            forget(reading);  // the next call retries
        }
        for (const auto& each : std::exchange(reading->waiting, {})) {
            if (failure != nullptr) {
                each->end(*failure);
            } else {
                each->end(reading);
            }
        }
    };
    std::make_shared<Search>(core_, end)->go_on();
}

void Info::forget(const std::shared_ptr<Reading>& one) {
    if (reading_ == one) {
        reading_ = nullptr;
    }
}

}  // namespace sentriton

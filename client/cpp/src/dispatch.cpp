#include "dispatch.hpp"

#include "inference/inference.pb.h"

namespace sentriton {

void Dispatcher::begin(Course& course) {
    course_ = &course;
    look();
}

void Dispatcher::look() {
    if (!over_) {
        loop_.wake(*this, Clock::now());
    }
}

void Dispatcher::stop() {
    over_ = true;
    loop_.forget(*this);
    course_->cancel();
}

void Dispatcher::woken(Time now) {
    while (!over_) {
        if (course_->finished() == course_->total()) {
            return end(std::nullopt);
        }
        const auto [sending, failure] = course_->next(now);
        if (failure) {
            return end(failure);
        }
        if (!sending) {
            return loop_.wake(*this, course_->wait(now));
        }
        send(sending);
    }
}

void Dispatcher::send(const std::shared_ptr<Sending>& sending) {
    const Duration left = sending->until - sending->sent;
    auto settle_it = [weak = weak_from_this(), this, sending](Answer answer) {
        Endpoints::end(*sending->endpoint, sending->sent);
        sending->operation = nullptr;
        if (const auto alive = weak.lock()) {
            settle(sending, std::move(answer));
        }
    };
    sending->operation =
        sending->endpoint->connection->infer(request(*sending->attempt->rows, left), left, std::move(settle_it));
}

void Dispatcher::settle(const std::shared_ptr<Sending>& sending, Answer answer) {
    if (over_ || !Course::awaits(sending)) {
        return;
    }
    std::optional<Failure> failure;
    if (const auto* refused = std::get_if<Failure>(&answer)) {
        failure = course_->failed(sending, refused->of_rows(sending->attempt->rows->indices), Clock::now());
    } else {
        const auto& response = *std::get<std::unique_ptr<inference::ModelInferResponse>>(answer);
        const std::string& address = sending->endpoint->connection->address();
        failure = collect(*sending->attempt->rows, address, response);
        if (failure) {
            failure = failure->of_wrong_answer(address);
        } else {
            course_->answered(sending, Clock::now());
        }
    }
    if (failure) {
        return end(failure);
    }
    woken(Clock::now());
}

void Dispatcher::end(const std::optional<Failure>& failure) {
    stop();
    done(failure);
}

}  // namespace sentriton

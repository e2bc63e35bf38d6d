#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include "loop.hpp"

namespace sentriton {

/// gRPC's queue of ended operations, and an alarm that wakes the thread that waits for it.
struct Loop::Queue {
    grpc::CompletionQueue completions;
    grpc::Alarm bell;
};

}  // namespace sentriton

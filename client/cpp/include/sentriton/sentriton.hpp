#pragma once

// Sentence embeddings from a Sentriton server.
#include "sentriton/encoder.hpp"    // IWYU pragma: export
#include "sentriton/errors.hpp"     // IWYU pragma: export
#include "sentriton/manifest.hpp"   // IWYU pragma: export
#include "sentriton/matrix.hpp"     // IWYU pragma: export
#include "sentriton/sentences.hpp"  // IWYU pragma: export
#include "sentriton/settings.hpp"   // IWYU pragma: export

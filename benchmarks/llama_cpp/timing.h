// A case of ops.cpp: tensors with drawn values, a graph of many groups, its times and its error.

#pragma once

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int SAMPLES = 25;
constexpr double SAMPLE_SECONDS = 0.004, GRAPH_SECONDS = 0.0015;
constexpr int MOST_GROUPS = 512, MOST_COPIES = 2048;

struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return z ^ z >> 31;
    }
    float unit() { return float(int64_t(next()) >> 32) * 0x1p-31f; }  // -1 to 1
};

struct Error {  // of a result, over its size
    double wrong = 0, size = 0;
    void add(double got, double want) {
        wrong += (got - want) * (got - want);
        size += want * want;
    }
};

class Case {
  public:
    const bool cold;
    ggml_context * context = nullptr;
    int copies = 1, groups = 1;

    Case(ggml_backend_t backend, bool cold, size_t l2) : cold(cold), backend_(backend), budget_(4 * l2) {
        context = ggml_init({ggml_tensor_overhead() * 16384 + ggml_graph_overhead_custom(8192, false), nullptr, true});
        graph_ = ggml_new_graph_custom(context, 8192, false);
    }
    ~Case() {
        if (buffer_) {
            ggml_backend_buffer_free(buffer_);
        }
        ggml_free(context);
    }
    Case(const Case &) = delete;
    Case & operator=(const Case &) = delete;

    // Takes memory for what was declared, and fills it.
    void allocate() {
        buffer_ = ggml_backend_alloc_ctx_tensors(context, backend_);
        if (!buffer_) {
            throw std::runtime_error("out of memory");
        }
        for (auto & fill : fills_) {
            fill();
        }
    }

    std::string run() {
        for (int i = 0; i < ggml_graph_n_nodes(graph_); i++) {
            if (!ggml_backend_supports_op(backend_, ggml_graph_node(graph_, i))) {
                throw std::runtime_error("the backend does not support it");
            }
        }
        for (int i = 0; i < 3; i++) {  // the second is captured
            seconds(1);
        }
        const int launches = std::max(1, int(std::ceil(SAMPLE_SECONDS / std::max(1e-6, seconds(2) / 2))));
        Error error;
        for (auto & check : checks_) {
            check(error);
        }
        std::ostringstream out;
        out.precision(7);
        out << "\"bytes\": " << bytes_ << ", \"copies\": " << copies << ", \"groups\": " << groups
            << ", \"launches\": " << launches << ", \"nmse\": " << error.wrong / error.size << ", \"us\": [";
        for (int i = 0; i < SAMPLES; i++) {
            out << (i ? ", " : "") << seconds(launches) / launches / groups * 1e6;
        }
        out << "]";
        return out.str();
    }

    // How many copies of what a group reads, of so many bytes, and how many groups a graph holds.
    void plan(size_t bytes, size_t copy_bytes, int most = MOST_GROUPS) {
        bytes_ = bytes;
        copies = cold ? int(std::clamp<size_t>((budget_ + copy_bytes - 1) / copy_bytes, 2, MOST_COPIES)) : 1;
        const double guess = 2e-6 + double(bytes) / 2.5e12;
        groups = std::clamp(int(GRAPH_SECONDS / guess), 2, most);
        groups = std::max(groups, copies);
    }

    ggml_tensor * drawn(ggml_type type, int64_t a, int64_t b = 1, int64_t c = 1, int64_t d = 1, float scale = 1,
                        float shift = 0) {
        ggml_tensor * t = ggml_new_tensor_4d(context, type, a, b, c, d);
        fills_.push_back([this, t, scale, shift] {
            std::vector<uint8_t> bytes(ggml_nbytes(t));
            if (ggml_is_quantized(t->type)) {
                blocks(t->type, bytes);
            } else if (t->type == GGML_TYPE_F32) {
                auto * to = reinterpret_cast<float *>(bytes.data());
                std::generate_n(to, bytes.size() / 4, [&] { return random_.unit() * scale + shift; });
            } else if (t->type == GGML_TYPE_F16) {
                auto * to = reinterpret_cast<ggml_fp16_t *>(bytes.data());
                std::generate_n(to, bytes.size() / 2, [&] {  // 1/16 to 1, either sign
                    const uint64_t bits = random_.next();
                    return ggml_fp16_t((bits & 0x83FF) | (11 + (bits >> 16 & 3)) << 10);
                });
            }
            ggml_backend_tensor_set(t, bytes.data(), 0, bytes.size());
        });
        return t;
    }

    void fill(std::function<void()> work) { fills_.push_back(std::move(work)); }  // once there is memory

    void group(ggml_tensor * out, int i, std::function<void(Error &)> check) {
        ggml_build_forward_expand(graph_, out);
        if (i == 0 || i == groups - 1) {
            checks_.push_back(std::move(check));
        }
    }

    std::vector<ggml_tensor *> several(ggml_type type, int64_t a, int64_t b, int64_t c = 1, int64_t d = 1) {
        std::vector<ggml_tensor *> found;
        for (int i = 0; i < copies; i++) {
            found.push_back(drawn(type, a, b, c, d));
        }
        return found;
    }

    // Indices of experts: disjoint, as far as they go, within a tensor's turn of them.
    ggml_tensor * choose(int64_t experts, int64_t top, int64_t tokens, std::vector<int32_t> & order, size_t & next) {
        std::vector<int32_t> chosen;
        for (int64_t token = 0; token < tokens; token++) {
            if (next + top > order.size()) {
                order.resize(experts);
                std::iota(order.begin(), order.end(), 0);
                for (int64_t i = experts - 1; i > 0; i--) {
                    std::swap(order[i], order[random_.next() % (i + 1)]);
                }
                next = 0;
            }
            chosen.insert(chosen.end(), order.begin() + next, order.begin() + next + top);
            next += top;
        }
        ggml_tensor * ids = ggml_new_tensor_2d(context, GGML_TYPE_I32, top, tokens);
        fills_.push_back([=] { ggml_backend_tensor_set(ids, chosen.data(), 0, chosen.size() * 4); });
        return ids;
    }

  private:
    ggml_backend_t backend_;
    size_t budget_, bytes_ = 0;
    ggml_cgraph * graph_ = nullptr;
    ggml_backend_buffer_t buffer_ = nullptr;
    Random random_{20260101};
    std::vector<std::function<void()>> fills_;
    std::vector<std::function<void(Error &)>> checks_;

    double seconds(int launches) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < launches; i++) {
            if (ggml_backend_graph_compute_async(backend_, graph_) != GGML_STATUS_SUCCESS) {
                throw std::runtime_error("the graph failed");
            }
        }
        ggml_backend_synchronize(backend_);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }

    // Any bits are a block as long as its scales are finite: these are 2^-10 to 2^-9.
    void blocks(ggml_type type, std::vector<uint8_t> & bytes) {
        auto * words = reinterpret_cast<uint64_t *>(bytes.data());
        std::generate_n(words, bytes.size() / 8, [&] { return random_.next(); });
        const size_t size = ggml_type_size(type);
        const bool two = type == GGML_TYPE_Q4_K || type == GGML_TYPE_Q5_K;
        for (size_t at = type == GGML_TYPE_Q6_K ? size - 2 : 0; at < bytes.size(); at += size) {
            for (int i = 0; i < 1 + two; i++) {
                const uint16_t half = 0x1400 | (random_.next() & 0x3FF);
                memcpy(&bytes[at + 2 * i], &half, 2);
            }
        }
    }
};

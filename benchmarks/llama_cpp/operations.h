// The operations that ops.cpp knows: tensors, nodes and what they should give, from a line's words.

#pragma once

#include "timing.h"

inline ggml_type type_named(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const char * known = ggml_type_name(ggml_type(i));
        std::string lower = known ? known : "";
        std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
        if (lower == name) {
            return ggml_type(i);
        }
    }
    throw std::runtime_error("no type " + name);
}

template <class... T> void read(std::istringstream & line, T &... into) {
    if (!((line >> into) && ...)) {
        throw std::runtime_error("too few words");
    }
}

// So many elements from an offset in bytes on.
inline std::vector<float> values(const ggml_tensor * t, size_t offset, int64_t count) {
    std::vector<uint8_t> bytes(ggml_row_size(t->type, count));
    ggml_backend_tensor_get(t, bytes.data(), offset, bytes.size());
    std::vector<float> found(count);
    if (t->type == GGML_TYPE_F32) {
        memcpy(found.data(), bytes.data(), bytes.size());
    } else {
        ggml_get_type_traits(t->type)->to_float(bytes.data(), found.data(), count);
    }
    return found;
}

inline double dot(const std::vector<float> & a, const float * b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); i++) {
        sum += double(a[i]) * b[i];
    }
    return sum;
}

inline void mul_mat(Case & c, std::istringstream & line) {
    std::string name;
    int64_t rows, columns, tokens;
    read(line, name, rows, columns, tokens);
    const ggml_type type = type_named(name);
    const size_t bytes = ggml_row_size(type, columns) * rows;
    c.plan(bytes, bytes);
    const auto weights = c.several(type, columns, rows);
    ggml_tensor * x = c.drawn(GGML_TYPE_F32, columns, tokens);
    for (int i = 0; i < c.groups; i++) {
        ggml_tensor * w = weights[i % c.copies];
        ggml_tensor * y = ggml_mul_mat(c.context, w, x);
        c.group(y, i, [=](Error & error) {
            const auto in = values(x, 0, columns * tokens), out = values(y, 0, rows * tokens);
            for (int64_t row = 0; row < rows; row += 1 + rows / 61) {
                const auto weight = values(w, row * w->nb[1], columns);
                for (int64_t token = 0; token < tokens; token++) {
                    error.add(out[token * rows + row], dot(weight, &in[token * columns]));
                }
            }
        });
    }
}

inline void routed(Case & c, std::istringstream & line, bool whole) {
    std::string name, down_name;
    int64_t rows, columns, experts, top, tokens;
    if (whole) {
        read(line, name, down_name, columns, rows, experts, top, tokens);  // columns: hidden; rows: width
    } else {
        read(line, name, rows, columns, experts, top, tokens);
    }
    const ggml_type type = type_named(name), down_type = whole ? type_named(down_name) : type;
    const size_t expert = ggml_row_size(type, columns) * rows, down_expert = ggml_row_size(down_type, rows) * columns;
    const size_t each = whole ? 2 * expert + down_expert : expert;
    c.plan(each * std::min(experts, top * tokens), each * experts, MOST_GROUPS / 2);
    const auto gates = c.several(type, columns, rows, experts);
    const auto ups = whole ? c.several(type, columns, rows, experts) : gates;
    const auto downs = whole ? c.several(down_type, rows, columns, experts) : gates;
    ggml_tensor * x = c.drawn(GGML_TYPE_F32, columns, 1, tokens);
    std::vector<std::vector<int32_t>> orders(c.copies);
    std::vector<size_t> next(c.copies, 0);
    ggml_tensor * only = c.cold ? nullptr : c.choose(experts, top, tokens, orders[0], next[0]);
    for (int i = 0; i < c.groups; i++) {
        const int turn = i % c.copies;
        ggml_tensor * ids = only ? only : c.choose(experts, top, tokens, orders[turn], next[turn]);
        ggml_tensor *gate = gates[turn], *up = ups[turn], *down = downs[turn];
        ggml_tensor * g = ggml_mul_mat_id(c.context, gate, x, ids);
        ggml_tensor * y = g;
        if (whole) {
            ggml_tensor * h = ggml_swiglu_split(c.context, g, ggml_mul_mat_id(c.context, up, x, ids));
            y = ggml_mul_mat_id(c.context, down, h, ids);
        }
        c.group(y, i, [=](Error & error) {
            std::vector<int32_t> chosen(top * tokens);
            ggml_backend_tensor_get(ids, chosen.data(), 0, chosen.size() * 4);
            for (int64_t token = 0; token < tokens; token++) {
                const int64_t slot = token % top, e = chosen[token * top + slot];
                const auto in = values(x, token * x->nb[2], columns);
                const auto out = values(y, token * y->nb[2] + slot * y->nb[1], y->ne[0]);
                const auto product = [&](ggml_tensor * w, int64_t row) {
                    return dot(values(w, e * w->nb[2] + row * w->nb[1], columns), in.data());
                };
                std::vector<float> h;
                for (int64_t row = 0; whole && row < rows; row++) {
                    const double linear = product(gate, row);
                    h.push_back(float(linear / (1 + std::exp(-linear)) * product(up, row)));
                }
                for (int64_t row = 0; row < y->ne[0]; row += 1 + y->ne[0] / 61) {
                    const double want = whole ? dot(values(down, e * down->nb[2] + row * down->nb[1], rows), h.data())
                                              : product(gate, row);
                    error.add(out[row], want);
                }
            }
        });
    }
}

inline void flash_attn(Case & c, std::istringstream & line) {
    int64_t heads, kv_heads, dim, context, batch;
    read(line, heads, kv_heads, dim, context, batch);
    const size_t half = size_t(context) * batch * kv_heads * dim * 2;
    c.plan(2 * half, 2 * half);
    const auto ks = c.several(GGML_TYPE_F16, dim, kv_heads, context, batch);
    const auto vs = c.several(GGML_TYPE_F16, dim, kv_heads, context, batch);
    ggml_tensor * q = c.drawn(GGML_TYPE_F32, dim, 1, heads, batch);
    ggml_tensor * mask = ggml_new_tensor_4d(c.context, GGML_TYPE_F16, context, 1, 1, 1);
    c.fill([mask] { ggml_backend_tensor_memset(mask, 0, 0, ggml_nbytes(mask)); });
    const float scale = 1 / std::sqrt(float(dim));
    for (int i = 0; i < c.groups; i++) {
        ggml_tensor *k = ks[i % c.copies], *v = vs[i % c.copies];
        const auto heads_apart = [&](ggml_tensor * t) { return ggml_permute(c.context, t, 0, 2, 1, 3); };
        ggml_tensor * y = ggml_flash_attn_ext(c.context, q, heads_apart(k), heads_apart(v), mask, scale, 0, 0);
        c.group(y, i, [=](Error & error) {
            const int64_t head = heads - 1, b = batch - 1, kv = head / (heads / kv_heads);
            const auto query = values(q, b * q->nb[3] + head * q->nb[2], dim);
            const auto out = values(y, b * y->nb[3] + head * y->nb[1], dim);
            std::vector<double> sum(dim, 0.0);
            double weight = 0, largest = -1e300;
            const auto keys = values(k, b * k->nb[3], context * kv_heads * dim);
            const auto vals = values(v, b * v->nb[3], context * kv_heads * dim);
            std::vector<double> scores(context);
            for (int64_t t = 0; t < context; t++) {
                scores[t] = dot(query, &keys[(t * kv_heads + kv) * dim]) * scale;
                largest = std::max(largest, scores[t]);
            }
            for (int64_t t = 0; t < context; t++) {
                const double p = std::exp(scores[t] - largest);
                weight += p;
                for (int64_t d = 0; d < dim; d++) {
                    sum[d] += p * vals[(t * kv_heads + kv) * dim + d];
                }
            }
            for (int64_t d = 0; d < dim; d++) {
                error.add(out[d], sum[d] / weight);
            }
        });
    }
}

inline void delta_net(Case & c, std::istringstream & line) {
    const int64_t dim = 128;
    int64_t k_heads, v_heads, batch;
    read(line, k_heads, v_heads, batch);
    const size_t state_bytes = size_t(dim) * dim * v_heads * batch * 4;
    c.plan(2 * state_bytes, 2 * state_bytes);  // read, and written elsewhere
    const auto states = c.several(GGML_TYPE_F32, dim, dim, v_heads, batch);
    const float unit = 1 / std::sqrt(dim / 3.0f);
    ggml_tensor * q = c.drawn(GGML_TYPE_F32, dim, k_heads, 1, batch, unit);
    ggml_tensor * k = c.drawn(GGML_TYPE_F32, dim, k_heads, 1, batch, unit);
    ggml_tensor * v = c.drawn(GGML_TYPE_F32, dim, v_heads, 1, batch);
    ggml_tensor * g = c.drawn(GGML_TYPE_F32, 1, v_heads, 1, batch, 0.5f, -0.5f);
    ggml_tensor * beta = c.drawn(GGML_TYPE_F32, 1, v_heads, 1, batch, 0.5f, 0.5f);
    for (int i = 0; i < c.groups; i++) {
        ggml_tensor * s = states[i % c.copies];
        ggml_tensor * y = ggml_gated_delta_net(c.context, q, k, v, g, beta, s, 1);
        c.group(y, i, [=](Error & error) {
            const int64_t head = v_heads - 1, b = batch - 1, kh = head % k_heads;
            const auto query = values(q, b * q->nb[3] + kh * q->nb[1], dim);
            const auto key = values(k, b * k->nb[3] + kh * k->nb[1], dim);
            const auto value = values(v, b * v->nb[3] + head * v->nb[1], dim);
            const double decay = std::exp(double(values(g, b * g->nb[3] + head * g->nb[1], 1)[0]));
            const double rate = values(beta, b * beta->nb[3] + head * beta->nb[1], 1)[0];
            const auto out = values(y, size_t(b * v_heads + head) * dim * 4, dim);
            const auto state = values(s, b * s->nb[3] + head * s->nb[2], dim * dim);
            for (int64_t column = 0; column < dim; column += 7) {  // a column of the state lies in one piece
                const float * old = &state[column * dim];
                const double change = rate * (value[column] - decay * dot(key, old));
                const double want = decay * dot(query, old) + change * dot(query, key.data());
                error.add(out[column], want / std::sqrt(double(dim)));
            }
        });
    }
}

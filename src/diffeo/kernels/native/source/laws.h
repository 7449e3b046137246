// Additive and affine laws: diffeo/laws/additive.py and affine.py say the same in torch.
#pragma once
#include "layer.h"

namespace diffeo {

// v = u + t.
struct Additive {
    Additive(const float *, const int32_t *) {}
    long params() const { return 1; }

    void apply(Vec u, const Vec *theta, bool inverse, Vec &v, Vec &log_slope) const {
        Vec t = abs(u) <= SAFE ? theta[0] : Vec{};
        v = inverse ? u - t : u + t;
        log_slope = Vec{};
    }

    void back(Vec u, const Vec *, bool inverse, Vec gv, Vec, Vec &gu, Vec *gtheta) const {
        gu = gv;
        Vec gt = inverse ? -gv : gv;
        gtheta[0] = abs(u) <= SAFE ? gt : Vec{};
    }
};

// v = u · exp(s) + t with s = b tanh(θ₀ / b), t = θ₁.
struct Affine {
    float bound;
    Affine(const float *numbers, const int32_t *) : bound(numbers[0]) {}
    long params() const { return 2; }

    void apply(Vec u, const Vec *theta, bool inverse, Vec &v, Vec &log_slope) const {
        Vec s = bound * tanh(theta[0] / bound);
        Vec t = abs(u) <= SAFE ? theta[1] : Vec{};
        log_slope = inverse ? -s : s;
        Vec scale = exp(log_slope);
        v = inverse ? (u - t) * scale : u * scale + t;
    }

    void back(Vec u, const Vec *theta, bool inverse, Vec gv, Vec gl, Vec &gu, Vec *gtheta) const {
        Vec bend = tanh(theta[0] / bound);
        Int near = abs(u) <= SAFE;
        Vec scale = exp(inverse ? -bound * bend : bound * bend);
        gu = gv * scale;
        Vec through = near ? (inverse ? -gu * (u - theta[1]) : gu * u) : Vec{};
        gtheta[0] = ((inverse ? -gl : gl) + through) * (1.0f - bend * bend);
        gtheta[1] = near ? (inverse ? -gu : gv) : Vec{};
    }
};

}  // namespace diffeo

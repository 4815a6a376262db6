// Kernels that exist on CUDA only, written plainly for the CPU key, where the pretend device looks for them.
//
// They keep what CUDA's refuse: the flash kernels want fp16 or bf16, a head size that is a multiple of 8 and at most
// 256, and compute capability 8 (PRETEND_CUDA_CAPABILITY).
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>
#include <cstdlib>
#include <string>

using at::Tensor;
using c10::IValue;

namespace {

double capability() {
  const char* value = std::getenv("PRETEND_CUDA_CAPABILITY");
  return value ? std::atof(value) : 8.0;
}

// The arguments of a boxed call by name: releases add some, and none of those matters here.
class Arguments {
 public:
  Arguments(const c10::OperatorHandle& op, torch::jit::Stack* stack) : schema_(op.schema()) {
    const auto n = static_cast<int64_t>(schema_.arguments().size());
    values_.assign(stack->end() - n, stack->end());
    stack->erase(stack->end() - n, stack->end());
  }
  const IValue& operator[](const std::string& name) const {
    return values_.at(static_cast<size_t>(schema_.argumentIndexWithName(name).value()));
  }
  Tensor tensor(const std::string& name) const { return (*this)[name].isNone() ? Tensor() : (*this)[name].toTensor(); }
  bool has(const std::string& name) const {
    return schema_.argumentIndexWithName(name).has_value() && !(*this)[name].isNone();
  }
  double scale(const Tensor& query) const {
    return has("scale") ? (*this)["scale"].toDouble() : 1 / std::sqrt(static_cast<double>(query.size(-1)));
  }

 private:
  const c10::FunctionSchema& schema_;
  torch::jit::Stack values_;
};

struct Pass {
  Tensor out, lse;
};
struct Gradients {
  Tensor q, k, v, bias;
};

// (..., Lq, E), (..., Lk, E) -> (..., Lq, Lk)
Tensor scores(const Tensor& q, const Tensor& k, const Tensor& bias, bool causal, double scale) {
  auto s = at::matmul(q, k.transpose(-1, -2)) * scale;
  if (bias.defined()) s = s + bias;
  if (causal) {
    const auto after = at::ones({s.size(-2), s.size(-1)}, at::kBool).triu(1 + s.size(-1) - s.size(-2));
    s = s.masked_fill(after, -INFINITY);
  }
  return s;
}

Pass attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal, double scale) {
  const auto s = scores(q, k, bias, causal, scale);
  return {at::matmul(at::softmax(s, -1), v), at::logsumexp(s, -1)};
}

Gradients attend_backward(const Tensor& grad, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias,
                          bool causal, double scale) {
  const auto p = at::softmax(scores(q, k, bias, causal, scale), -1);
  const auto grad_p = at::matmul(grad, v.transpose(-1, -2));
  const auto grad_s = p * (grad_p - (grad_p * p).sum(-1, true));
  return {at::matmul(grad_s, k) * scale, at::matmul(grad_s.transpose(-1, -2), q) * scale,
          at::matmul(p.transpose(-1, -2), grad), grad_s};
}

void check_flash(const Tensor& q) {
  TORCH_CHECK(capability() >= 8, "FlashAttention only supports Ampere GPUs or newer.");
  TORCH_CHECK(q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16,
              "FlashAttention only support fp16 and bf16 data type");
  TORCH_CHECK(q.size(-1) % 8 == 0 && q.size(-1) <= 256, "FlashAttention: head size ", q.size(-1));
  TORCH_CHECK(q.stride(-1) == 1, "Input tensor must have contiguous last dimension");
}

bool is_causal(const Arguments& a) {
  return a["is_causal"].toBool() || (a.has("window_size_right") && a["window_size_right"].toInt() == 0);
}

// Rows of each sequence of a packed stream, and -- where given -- how many of its keys count.
template <typename F>
void each_sequence(const Arguments& a, F&& visit) {
  const auto ends_q = a.tensor("cum_seq_q").to(at::kLong), ends_k = a.tensor("cum_seq_k").to(at::kLong);
  TORCH_CHECK(a.tensor("cum_seq_q").scalar_type() == at::kInt, "cu_seqlens must have dtype int32");
  const auto used = a.has("seqused_k") ? a.tensor("seqused_k").to(at::kLong) : Tensor();
  const auto* eq = ends_q.const_data_ptr<int64_t>();
  const auto* ek = ends_k.const_data_ptr<int64_t>();
  for (int64_t i = 0; i + 1 < ends_q.numel(); i++) {
    const auto keys = used.defined() ? used.const_data_ptr<int64_t>()[i] : ek[i + 1] - ek[i];
    TORCH_CHECK(eq[i + 1] - eq[i] <= a["max_q"].toInt() && keys <= a["max_k"].toInt(), "a sequence is longer than max");
    if (eq[i + 1] > eq[i]) visit(eq[i], eq[i + 1], ek[i], ek[i] + keys);
  }
}

Tensor rows(const Tensor& t, int64_t first, int64_t last) { return t.slice(0, first, last).transpose(0, 1).to(at::kFloat); }

void flash_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments a(op, stack);
  const auto q = a.tensor("query"), k = a.tensor("key"), v = a.tensor("value");
  check_flash(q);
  TORCH_CHECK(a["dropout_p"].toDouble() == 0, "pretend CUDA: flash attention without dropout only");
  auto out = at::zeros_like(q, at::MemoryFormat::Contiguous);
  Tensor lse;
  if (a.tensor("cum_seq_q").defined()) {
    lse = at::zeros({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
    each_sequence(a, [&](int64_t first, int64_t last, int64_t first_k, int64_t last_k) {
      const auto pass = attend(rows(q, first, last), rows(k, first_k, last_k), rows(v, first_k, last_k), Tensor(),
                               is_causal(a), a.scale(q));
      out.slice(0, first, last).copy_(pass.out.transpose(0, 1));
      lse.slice(1, first, last).copy_(pass.lse);
    });
  } else {  // (B, L, H, E)
    const auto heads = [](const Tensor& t) { return t.transpose(1, 2).to(at::kFloat); };
    const auto pass = attend(heads(q), heads(k), heads(v), Tensor(), is_causal(a), a.scale(q));
    out.copy_(pass.out.transpose(1, 2));
    lse = pass.lse;
  }
  const auto state = at::zeros({2}, at::kLong);
  torch::jit::push(*stack, out, lse, state, at::zeros({}, at::kLong), at::zeros({0}, q.options()));
}

void flash_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments a(op, stack);
  const auto q = a.tensor("query"), k = a.tensor("key"), v = a.tensor("value"), grad = a.tensor("grad_out");
  check_flash(q);
  TORCH_CHECK(grad.scalar_type() == q.scalar_type() && a.tensor("out").scalar_type() == q.scalar_type(),
              "FlashAttention backward: one type for all");
  auto grad_q = at::zeros_like(q, at::MemoryFormat::Contiguous), grad_k = at::zeros_like(k, at::MemoryFormat::Contiguous),
       grad_v = at::zeros_like(v, at::MemoryFormat::Contiguous);
  each_sequence(a, [&](int64_t first, int64_t last, int64_t first_k, int64_t last_k) {
    const auto g = attend_backward(rows(grad, first, last), rows(q, first, last), rows(k, first_k, last_k),
                                   rows(v, first_k, last_k), Tensor(), is_causal(a), a.scale(q));
    grad_q.slice(0, first, last).copy_(g.q.transpose(0, 1));
    grad_k.slice(0, first_k, last_k).copy_(g.k.transpose(0, 1));
    grad_v.slice(0, first_k, last_k).copy_(g.v.transpose(0, 1));
  });
  torch::jit::push(*stack, grad_q, grad_k, grad_v);
}

void efficient_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments a(op, stack);
  const auto q = a.tensor("query"), bias = a.tensor("attn_bias");
  TORCH_CHECK(!bias.defined() || bias.scalar_type() == q.scalar_type(), "invalid dtype for bias");
  const auto f = [](const Tensor& t) { return t.defined() ? t.to(at::kFloat) : t; };
  const auto pass = attend(f(q), f(a.tensor("key")), f(a.tensor("value")), f(bias), a["is_causal"].toBool(), a.scale(q));
  const auto out = pass.out.to(q.scalar_type()).transpose(1, 2).contiguous().transpose(1, 2);
  torch::jit::push(*stack, out, pass.lse, at::zeros({}, at::kLong), at::zeros({}, at::kLong));
}

void efficient_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments a(op, stack);
  const auto q = a.tensor("query"), bias = a.tensor("attn_bias");
  const auto f = [](const Tensor& t) { return t.defined() ? t.to(at::kFloat) : t; };
  const auto g = attend_backward(f(a.tensor("grad_out_")), f(q), f(a.tensor("key")), f(a.tensor("value")), f(bias),
                                 a["is_causal"].toBool(), a.scale(q));
  const auto type = q.scalar_type();
  torch::jit::push(*stack, g.q.to(type), g.k.to(type), g.v.to(type), Tensor());
}

// The kernel `scaled_dot_product_attention` picks: 2 is the memory-efficient one, 0 plain operators.
int64_t choose(const Tensor& q, const Tensor&, const Tensor&, const std::optional<Tensor>&, double dropout, bool,
               std::optional<double>, bool) {
  return dropout == 0 && q.dim() == 4 ? 2 : 0;
}

// Products of 16-bit matrices with a 32-bit result.
Tensor wide(const Tensor& t) { return t.to(at::kFloat); }
Tensor wide_mm(const Tensor& a, const Tensor& b, c10::ScalarType out) { return at::mm(wide(a), wide(b)).to(out); }
Tensor wide_bmm(const Tensor& a, const Tensor& b, c10::ScalarType out) { return at::bmm(wide(a), wide(b)).to(out); }
Tensor& wide_mm_out(const Tensor& a, const Tensor& b, c10::ScalarType out, Tensor& result) {
  return result.copy_(wide_mm(a, b, out));
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CPU, m) {
  m.impl("_flash_attention_forward", torch::CppFunction::makeFromBoxedFunction<&flash_forward>());
  m.impl("_flash_attention_backward", torch::CppFunction::makeFromBoxedFunction<&flash_backward>());
  m.impl("_scaled_dot_product_efficient_attention", torch::CppFunction::makeFromBoxedFunction<&efficient_forward>());
  m.impl("_scaled_dot_product_efficient_attention_backward",
         torch::CppFunction::makeFromBoxedFunction<&efficient_backward>());
  m.impl("mm.dtype", wide_mm);
  m.impl("mm.dtype_out", wide_mm_out);
  m.impl("bmm.dtype", wide_bmm);
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) { m.impl("_fused_sdp_choice", choose); }

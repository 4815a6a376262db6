// The pretend device: dispatch keys, memory, copies, counters and graphs of a CUDA that lives in host memory.
//
// Every operator that reaches the CUDA key runs its CPU kernel on aliases of the tensors' memory. See __init__.py for
// what this can show and what it can't.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

using namespace c10;
using at::Tensor;

namespace {

int environment(const char* name, int standard) {
  const char* value = std::getenv(name);
  return value ? std::atoi(value) : standard;
}

const int DEVICES = environment("PRETEND_CUDA_DEVICES", 2);
thread_local int current = 0;

// ---------------------------------------------------------------------------------------------- counting
// What lives as long as the process is never destroyed: tensors may be released after it.

auto& mutex = *new std::recursive_mutex;
auto& counts = *new std::map<std::string, int64_t>;
auto& trace = *new std::vector<std::string>;
bool tracing = false;
int64_t launched = 0;

void count(const std::string& kind, const std::string& what) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  const auto name = kind + " " + what;
  counts[name]++;
  if (kind == "launch" || kind == "replay") launched++;
  if (tracing) trace.push_back(name);
}

// ---------------------------------------------------------------------------------------------- graphs

using Node = std::function<void()>;

struct Graph {
  std::vector<Node> nodes;
  std::vector<std::pair<Storage, std::vector<char>>> before;  // what the region wrote to, as it was before
  std::set<const void*> saved, born;                           // memory saved above; memory made by the region
  std::vector<Tensor> fresh;                                   // results of the region: garbage until it is replayed
  std::vector<Tensor> random;                                  // generator states before the region
};

auto& capturing = *new std::unique_ptr<Graph>;
auto& graphs = *new std::vector<std::unique_ptr<Graph>>;

void synchronised(const std::string& what);

void forbid_while_capturing(const std::string& what) {
  TORCH_CHECK(!capturing, "pretend CUDA: operation not permitted when stream is capturing: ", what);
}

void note_write(const Storage& storage) {
  auto data = storage.data();
  if (!capturing || !data || capturing->born.count(data) || !capturing->saved.insert(data).second) return;
  const char* bytes = static_cast<const char*>(data);
  capturing->before.emplace_back(storage, std::vector<char>(bytes, bytes + storage.nbytes()));
}

// ---------------------------------------------------------------------------------------------- memory

auto& in_use = *new std::vector<int64_t>(16);
auto& peak = *new std::vector<int64_t>(16);

struct Block {
  DataPtr data;
  Storage storage;
  int64_t bytes;
  int device;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    in_use[block->device] -= block->bytes;
  }
  delete block;
}

DataPtr hold(void* at, Block* block) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  in_use[block->device] += block->bytes;
  peak[block->device] = std::max(peak[block->device], in_use[block->device]);
  if (capturing) capturing->born.insert(at);
  return DataPtr(at, block, &release, Device(kCUDA, block->device));
}

struct DeviceAllocator final : Allocator {
  DataPtr allocate(size_t n) override {
    auto data = GetCPUAllocator()->allocate(n);
    void* at = data.get();
    if (n) std::memset(at, 0x7f, n);
    return hold(at, new Block{std::move(data), Storage(), static_cast<int64_t>(n), current});
  }
  DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t n) const override { std::memcpy(to, from, n); }
};
auto& device_allocator = *new DeviceAllocator;

auto& pinned = *new std::map<const char*, size_t>;

void release_pinned(void* at) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  pinned.erase(static_cast<char*>(at));
  std::free(at);
}

bool is_pinned(const void* data) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  auto next = pinned.upper_bound(static_cast<const char*>(data));
  if (next == pinned.begin()) return false;
  --next;
  return static_cast<const char*>(data) < next->first + next->second;
}

struct PinnedAllocator final : Allocator {
  DataPtr allocate(size_t n) override {
    const size_t size = std::max<size_t>(64, (n + 63) / 64 * 64);
    void* at = std::aligned_alloc(64, size);
    std::lock_guard<std::recursive_mutex> lock(mutex);
    pinned[static_cast<char*>(at)] = size;
    return DataPtr(at, at, &release_pinned, Device(kCPU));
  }
  DeleterFnPtr raw_deleter() const override { return &release_pinned; }
  void copy_data(void* to, const void* from, size_t n) const override { std::memcpy(to, from, n); }
};
auto& pinned_allocator = *new PinnedAllocator;

void poison(Tensor t) {
  if (t.is_floating_point()) t.fill_(std::numeric_limits<double>::quiet_NaN());
  else if (t.scalar_type() == kBool) t.fill_(true);
  else if (at::isIntegralType(t.scalar_type(), false)) t.fill_(t.element_size() > 2 ? 0x7f7f7f7f : 0x7f);
}

// ---------------------------------------------------------------------------------------------- device interfaces

auto& generators = *new std::vector<at::Generator>;

const at::Generator& generator(DeviceIndex index) {
  if (generators.empty())
    for (int i = 0; i < DEVICES; i++) generators.push_back(at::detail::createCPUGenerator(default_rng_seed_val));
  return generators.at(index < 0 ? current : index);
}

DeviceIndex place(DeviceIndex index) { return index < 0 ? current : index; }

struct Guard final : impl::DeviceGuardImplInterface {
  DeviceType type() const override { return kCUDA; }
  Device exchangeDevice(Device d) const override {
    Device old(kCUDA, current);
    current = place(d.index());
    return old;
  }
  Device getDevice() const override { return Device(kCUDA, current); }
  void setDevice(Device d) const override { current = place(d.index()); }
  void uncheckedSetDevice(Device d) const noexcept override { current = place(d.index()); }
  Stream getStream(Device d) const noexcept override { return Stream(Stream::DEFAULT, Device(kCUDA, place(d.index()))); }
  Stream getNewStream(Device d, int) const override { return getStream(d); }
  Stream exchangeStream(Stream s) const noexcept override { return s; }
  DeviceIndex deviceCount() const noexcept override { return DEVICES; }
  DeviceCapability getDeviceCapability(Device) const override { return DeviceCapability(); }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override { synchronised("stream"); }
  void synchronizeEvent(void*) const override { synchronised("event"); }
  void synchronizeDevice(const DeviceIndex) const override { synchronised("device"); }
  void recordDataPtrOnStream(const DataPtr&, const Stream&) const override {}
} guard;
impl::DeviceGuardImplRegistrar guard_registrar(kCUDA, &guard);

struct Hooks : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return DEVICES; }
  DeviceIndex deviceCount() const override { return DEVICES; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex d) const override { current = d; }
  DeviceIndex exchangeDevice(DeviceIndex d) const override { return std::exchange(current, int(d)); }
  DeviceIndex maybeExchangeDevice(DeviceIndex d) const override { return std::exchange(current, int(d)); }
  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
  Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  Device getDeviceFromPtr(void*) const override { return Device(kCUDA, current); }
  const at::Generator& getDefaultGenerator(DeviceIndex d) const override { return generator(d); }
  at::Generator getNewGenerator(DeviceIndex) const override { return at::detail::createCPUGenerator(); }
};

}  // namespace

namespace at {
using c10::DeviceIndex;
static RegistererCUDAHooksRegistry hooks_registrar(
    "CUDAHooks", CUDAHooksRegistry(), RegistererCUDAHooksRegistry::DefaultCreator<Hooks>);
}  // namespace at

namespace {

// ---------------------------------------------------------------------------------------------- aliases

// The same memory as a CPU tensor.
Tensor on_host(const Tensor& t) {
  auto owner = t.storage();
  void* at = const_cast<void*>(owner.data());
  DataPtr data(at, new Storage(owner), [](void* p) { delete static_cast<Storage*>(p); }, Device(kCPU));
  Storage storage(Storage::use_byte_size_t(), owner.nbytes(), std::move(data), GetCPUAllocator(), true);
  auto alias = at::detail::make_tensor<TensorImpl>(std::move(storage), DispatchKeySet(DispatchKey::CPU), t.dtype());
  alias.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  return alias;
}

// A CPU kernel's new result as a CUDA tensor.
Tensor on_device(const Tensor& t, int device) {
  auto owner = t.storage();
  void* at = const_cast<void*>(owner.data());
  const auto bytes = static_cast<int64_t>(owner.nbytes());
  auto data = hold(at, new Block{DataPtr(), owner, bytes, device});
  Storage storage(Storage::use_byte_size_t(), bytes, std::move(data), &device_allocator, true);
  auto result = at::detail::make_tensor<TensorImpl>(std::move(storage), DispatchKeySet(DispatchKey::CUDA), t.dtype());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  if (capturing) capturing->fresh.push_back(t);
  return result;
}

Tensor view_on_device(const Tensor& t, const Tensor& base) {
  auto view = at::detail::make_tensor<TensorImpl>(TensorImpl::VIEW, Storage(base.storage()), base.key_set(), t.dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  return view;
}

// ---------------------------------------------------------------------------------------------- operators

std::string full_name(const FunctionSchema& schema) {
  auto name = schema.name();
  if (name.rfind("aten::", 0) == 0) name = name.substr(6);
  return schema.overload_name().empty() ? name : name + "." + schema.overload_name();
}

// The host waits for the device in these: their result's size depends on values.
const std::set<std::string> WAITING = {"nonzero",     "masked_select", "unique_dim", "_unique2", "unique_consecutive",
                                       "equal",       "bincount",      "histc",      "is_nonzero",
                                       "repeat_interleave.Tensor"};
// CPU tensors of one or more dimensions that CUDA takes, as indices.
const std::set<std::string> TAKES_HOST = {"index.Tensor", "index_put_", "_index_put_impl_", "index_put", "index.Tensor_out"};
// These touch shapes only.
const std::set<std::string> SHAPES = {"resize_", "set_.source_Storage", "set_.source_Storage_storage_offset",
                                      "set_.source_Tensor", "set_", "record_stream", "as_strided"};
// One type for input, weight and bias, as CUDA's kernel wants it.
const std::set<std::string> ONE_TYPE = {"native_layer_norm", "native_layer_norm_backward"};

// Run an operator's CPU kernel; random ones draw from their device's generator.
void run(const OperatorHandle& op, torch::jit::Stack* stack, int device) {
  at::AutoDispatchBelowADInplaceOrView below;
  if (!op.hasTag(at::Tag::nondeterministic_seeded)) {
    op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
    return;
  }
  auto host = at::detail::getDefaultCPUGenerator();
  auto own = generator(device);
  auto kept = host.get_state();
  host.set_state(own.get_state());
  op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  own.set_state(host.get_state());
  host.set_state(kept);
}

template <typename F>
void each_tensor(const IValue& value, F&& visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) visit(value.toTensor());
  } else if (value.isList()) {
    for (const IValue& item : value.toListRef()) each_tensor(item, visit);
  }
}

template <typename F>
void replace_tensors(IValue& value, F&& by) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) value = by(value.toTensor());
  } else if (value.isTensorList()) {
    std::vector<Tensor> out;
    for (const Tensor& t : value.toTensorVector()) out.push_back(by(t));
    value = IValue(out);
  } else if (value.isOptionalTensorList()) {
    List<std::optional<Tensor>> out;
    for (const IValue& item : value.toListRef())
      out.push_back(item.isNone() ? std::nullopt : std::optional<Tensor>(by(item.toTensor())));
    value = IValue(out);
  }
}

struct Call {
  std::vector<std::pair<Tensor, Tensor>> aliases;  // CUDA tensor, its CPU alias
  int device = -1;
  bool host_tensor = false, has_mask = false;
};

Tensor to_host(Call& call, const Tensor& t, const std::string& name) {
  if (!t.is_cuda()) {
    call.host_tensor |= t.device().is_cpu() && t.dim() > 0;
    return t;
  }
  TORCH_CHECK(call.device < 0 || call.device == t.get_device(), "Expected all tensors to be on the same device: ", name,
              " got cuda:", call.device, " and cuda:", int(t.get_device()));
  call.device = t.get_device();
  call.has_mask |= t.scalar_type() == kBool;
  for (auto& [own, alias] : call.aliases)
    if (own.is_same(t)) return alias;
  call.aliases.emplace_back(t, on_host(t));
  return call.aliases.back().second;
}

// A result of the CPU kernel as the caller should see it: an argument, a view of one, or a new tensor.
Tensor to_device(Call& call, const Tensor& t, bool& computed) {
  if (!t.defined() || !t.device().is_cpu()) return t;
  for (auto& [own, alias] : call.aliases) {
    if (!alias.is_same(t)) continue;
    computed = true;
    if (alias.storage().data() != own.storage().data() || alias.sizes() != own.sizes()) {  // an `out` was resized
      auto moved = on_device(alias, call.device);
      own.unsafeGetTensorImpl()->set_storage_keep_dtype(moved.storage());
      own.unsafeGetTensorImpl()->set_sizes_and_strides(moved.sizes(), moved.strides(), moved.storage_offset());
    }
    return own;
  }
  for (auto& [own, alias] : call.aliases)
    if (alias.storage().unsafeGetStorageImpl() == t.storage().unsafeGetStorageImpl()) return view_on_device(t, own);
  computed = true;
  return on_device(t, call.device);
}

void check_types(const std::string& name, const torch::jit::Stack& stack, size_t first) {
  if (!ONE_TYPE.count(name)) return;
  const auto type = stack[first].toTensor().scalar_type();
  for (size_t i = first; i < stack.size(); i++) {
    if (!stack[i].isTensor() || !stack[i].toTensor().defined()) continue;
    const auto own = stack[i].toTensor().scalar_type();
    const bool statistic = own == kFloat && name == "native_layer_norm_backward";
    TORCH_CHECK(own == type || statistic, "expected scalar type ", type, " but found ", own, " in ", name);
  }
}

// Note a call in the graph: the same kernel on the same memory, its new results copied to where the first ones lie.
void record_call(const OperatorHandle& op, torch::jit::Stack in, const torch::jit::Stack& out, int device) {
  std::vector<Tensor> results;
  for (const IValue& value : out) each_tensor(value, [&](const Tensor& t) { results.push_back(t); });
  capturing->nodes.push_back([op, in, results, device] {
    auto stack = in;
    run(op, &stack, device);
    size_t i = 0;
    for (const IValue& value : stack)
      each_tensor(value, [&](const Tensor& t) {
        const Tensor& to = results[i++];
        TORCH_CHECK(t.sizes() == to.sizes(), "pretend CUDA: a replayed ", op.schema().name(), " gave another shape");
        if (t.data_ptr() != to.data_ptr()) Tensor(to).copy_(t);
      });
  });
}

void fallback(const OperatorHandle& op, DispatchKeySet, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto name = full_name(schema);
  const size_t n = schema.arguments().size(), first = stack->size() - n;
  Call call;
  check_types(name, *stack, first);
  for (size_t i = 0; i < n; i++) {
    IValue& value = (*stack)[first + i];
    if (value.isDevice() && value.toDevice().is_cuda()) {
      call.device = place(value.toDevice().index());
      value = IValue(Device(kCPU));
    }
    const auto* alias = schema.arguments()[i].alias_info();
    if (alias && alias->isWrite() && capturing)
      each_tensor(value, [](const Tensor& t) { if (t.is_cuda()) note_write(t.storage()); });
    replace_tensors(value, [&](const Tensor& t) { return to_host(call, t, name); });
  }
  const bool takes_host = TAKES_HOST.count(name);
  TORCH_CHECK(!call.host_tensor || call.device < 0 || takes_host,
              "Expected all tensors to be on the same device, but found at least two devices, cuda and cpu! in ", name);
  const bool waits = WAITING.count(name) || (takes_host && call.host_tensor) ||
                     (call.has_mask && name == "_index_put_impl_");
  if (waits) {
    forbid_while_capturing(name);
    synchronised(name);
  }
  if (call.device < 0) call.device = current;
  torch::jit::Stack in;
  if (capturing) in.assign(stack->end() - static_cast<int64_t>(n), stack->end());
  run(op, stack, call.device);
  const size_t begin = stack->size() - schema.returns().size();
  torch::jit::Stack out(stack->begin() + static_cast<int64_t>(begin), stack->end());
  bool computed = schema.returns().empty();
  for (size_t i = begin; i < stack->size(); i++)
    replace_tensors((*stack)[i], [&](const Tensor& t) { return to_device(call, t, computed); });
  const bool launches = computed && !SHAPES.count(name);
  count(launches ? "launch" : "view", name);
  if (capturing && launches) record_call(op, std::move(in), out, call.device);
}

// ---------------------------------------------------------------------------------------------- copies

struct Arriving {
  Tensor to, values;
};
auto& arriving = *new std::deque<Arriving>;  // copies to pinned memory that the host has not waited for
int64_t arrived = 0;                         // how many have been delivered so far

void deliver(int64_t until) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  at::AutoDispatchBelowADInplaceOrView below;
  while (!arriving.empty() && arrived < until) {
    arriving.front().to.copy_(arriving.front().values);
    arriving.pop_front();
    arrived++;
  }
}

void synchronised(const std::string& what) {
  count("sync", what);
  deliver(INT64_MAX);
}

void send_home(const Tensor& to, const Tensor& from) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  arriving.push_back({to, from.clone()});
  poison(to);
}

Tensor& copy_(Tensor& self, const Tensor& src, bool non_blocking) {
  if (self.numel() == 0) return self;
  at::AutoDispatchBelowADInplaceOrView below;
  const bool in = !src.is_cuda(), out = !self.is_cuda();
  const Tensor to = out ? self : on_host(self), from = in ? src : on_host(src);
  const bool page_locked = is_pinned((in ? src : self).data_ptr());
  if (!in && !out) {
    count("launch", "copy_");
  } else if (!non_blocking || (out && !page_locked)) {
    forbid_while_capturing(out ? "copy to the host" : "copy from the host");
    synchronised(out ? "copy to the host" : "copy from the host");
  } else {
    if (!page_locked) forbid_while_capturing("copy from pageable memory");
    count("copy", std::string(out ? "to" : "from") + (page_locked ? " pinned memory" : " pageable memory"));
  }
  if (!out) note_write(self.storage());
  Node node = [to, from, out, page_locked, non_blocking] {
    if (out && page_locked && non_blocking) send_home(to, from.expand_as(to).to(to.dtype()));
    else Tensor(to).copy_(from);
  };
  if (capturing) capturing->nodes.push_back(node);
  if (!(capturing && out)) node();
  return self;
}

Scalar local_scalar(const Tensor& t) {
  forbid_while_capturing("item()");
  synchronised("item()");
  return at::_local_scalar_dense(on_host(t));
}

// ---------------------------------------------------------------------------------------------- factories

int device_of(const std::optional<Device>& device) { return device ? place(device->index()) : current; }

Tensor poisoned(Tensor t) {
  auto alias = on_host(t);
  at::AutoDispatchBelowADInplaceOrView below;
  poison(alias);
  if (capturing) capturing->fresh.push_back(alias);
  return t;
}

Tensor empty(IntArrayRef size, std::optional<ScalarType> type, std::optional<Layout>, std::optional<Device> device,
             std::optional<bool>, std::optional<MemoryFormat> format) {
  OptionalDeviceGuard there(Device(kCUDA, device_of(device)));
  const auto keys = DispatchKeySet(DispatchKey::CUDA);
  return poisoned(at::detail::empty_generic(size, &device_allocator, keys, dtype_or_default(type), format));
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<ScalarType> type, std::optional<Layout>,
                     std::optional<Device> device, std::optional<bool>) {
  OptionalDeviceGuard there(Device(kCUDA, device_of(device)));
  const auto keys = DispatchKeySet(DispatchKey::CUDA);
  return poisoned(at::detail::empty_strided_generic(size, stride, &device_allocator, keys, dtype_or_default(type)));
}

// ---------------------------------------------------------------------------------------------- control

void capture_begin() {
  forbid_while_capturing("a second capture");
  capturing = std::make_unique<Graph>();
  for (int i = 0; i < DEVICES; i++) capturing->random.push_back(generator(i).get_state());
}

// A capture runs nothing on a real device: put back what the region wrote, spoil what it made.
int64_t capture_end() {
  TORCH_CHECK(capturing, "pretend CUDA: no capture is underway");
  auto graph = std::move(capturing);
  for (auto& [storage, bytes] : graph->before) std::memcpy(const_cast<void*>(storage.data()), bytes.data(), bytes.size());
  for (int i = 0; i < DEVICES; i++) generators[i].set_state(graph->random[i]);
  at::AutoDispatchBelowADInplaceOrView below;
  for (auto& tensor : graph->fresh) poison(tensor);
  graph->before.clear();
  graph->fresh.clear();
  graphs.push_back(std::move(graph));
  return static_cast<int64_t>(graphs.size()) - 1;
}

void replay(int64_t graph) {
  forbid_while_capturing("replay()");
  auto& own = graphs.at(graph);
  TORCH_CHECK(own, "pretend CUDA: the graph was reset");
  count("replay", "graph");
  {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    counts["node graph"] += static_cast<int64_t>(own->nodes.size());
  }
  NoGradGuard no_grad;
  for (auto& node : own->nodes) node();
}

std::vector<std::string> dump() {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  std::vector<std::string> lines;
  for (auto& [name, number] : counts) lines.push_back(name + "\t" + std::to_string(number));
  return lines;
}

void reset_counts(bool with_trace) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  counts.clear();
  trace.clear();
  tracing = with_trace;
}

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("_local_scalar_dense", local_scalar);
  // These have a composite form too, which would come before the fallback; CUDA has kernels of its own.
  for (const char* name : {"native_layer_norm", "native_layer_norm_backward"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY(pretend_cuda, m) {
  m.def("device_count() -> int", []() -> int64_t { return DEVICES; });
  m.def("current_device() -> int", []() -> int64_t { return current; });
  m.def("set_device(int device) -> ()", [](int64_t device) { current = static_cast<int>(device); });
  m.def("generator(int device) -> Generator?", [](int64_t device) { return generator(static_cast<DeviceIndex>(device)); });
  m.def("memory(int device) -> int[]", [](int64_t d) { return std::vector<int64_t>{in_use.at(d), peak.at(d)}; });
  m.def("reset_peak(int device) -> ()", [](int64_t d) { peak.at(d) = in_use.at(d); });
  m.def("counts() -> str[]", &dump);
  m.def("trace() -> str[]", []() -> std::vector<std::string> { return trace; });
  m.def("reset_counts(bool trace) -> ()", &reset_counts);
  m.def("synchronised(str what) -> ()", [](std::string what) { synchronised(what); });
  m.def("forbid_while_capturing(str what) -> ()", [](std::string what) { forbid_while_capturing(what); });
  m.def("mark() -> int[]", []() -> std::vector<int64_t> {
    return {arrived + static_cast<int64_t>(arriving.size()), launched};
  });
  m.def("wait_for(int arrival) -> ()", [](int64_t arrival) { count("wait", "event"); deliver(arrival); });
  m.def("is_capturing() -> bool", [] { return capturing != nullptr; });
  m.def("capture_begin() -> ()", &capture_begin);
  m.def("capture_end() -> int", &capture_end);
  m.def("replay(int graph) -> ()", &replay);
  m.def("forget(int graph) -> ()", [](int64_t graph) { graphs.at(graph).reset(); });
}

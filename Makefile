# make demo      serve the bundled checkpoint, embed three sentences over gRPC, stop everything
# make test      lint, types, unit tests, the client, server tests, manifests, faults (CI runs polyglot and gateway as well)
# make unit      only unit tests (under 45 s on two cores)
# make client    the Python client with servers that answer wrongly, late or not at all (half a minute)
# make encoders  every supported kind of encoder and tokenizer at every precision, without Triton (a minute)
# make end-to-end  a training, exports of 200 changed checkpoints, trained weights in any batch, memory (a minute)
# make server    tests against a real Triton (five minutes on two cores)
# make typing    mypy and pyright on the client's public interface (half a minute)
# make gateway   the OpenAI gateway: OpenAI's, LangChain's and LlamaIndex's clients, its page in a browser; the examples (two minutes)
# make browser   unpack Debian's headless Chromium into build/ (700 MB), which the tests of the gateway's page need
# make polyglot  tests of the clients of all languages against one real Triton (a minute and a half)
# make protos    generate the clients' messages from protos/inference/inference.proto
# make docs      write the generated pages and tables, and build the documentation site into build/site (links checked)
# make node      install and build the Node client (the tests do this by themselves)
# make go        fetch the modules of the Go client and of its checks, and build it
# make rust      fetch the crates of the Rust client and of its checks, and build it with its tests
# make cpp       build the C++ client, with the system's gRPC or Debian's, unpacked into build/ (a minute)
# make java      build and test the Java client, and install it into the local Maven repository (half a minute)
# make prometheus  unpack Debian's Prometheus into build/, which the tests of docker/ need
# make manifests images, manifests and alert rules as files (a minute; kubectl, jq, Go for helm and, on Debian, apt-get)
# make deploy    images and Compose in a Docker engine, probes, drain, Prometheus, traces, Ray (half an hour)
# make coverage-quick  coverage of the unit tests and the client's tests, at least 81 % (two minutes)
# make coverage  the same with training and tests against a real Triton, at least 85 %
# make test-faults  processes that die or hang, full disks, overload, any message, on a quiet machine (ten minutes)
# make test-fuzz  20,000 messages of any kind (five minutes);  make test-soak  ten minutes of load, memory compared
# make examples-large  the examples for Ray Data and Spark, on a local Ray and Spark (fetches some 700 MB; Java 17 or later)
# make test-large  RoBERTa-large's architecture, an interrupted training, all-MiniLM-L6-v2 at bf16 and int8 (minutes, several GiB)
# make bench     most benchmarks in a short run (twenty minutes on two cores), plots in build/bench
# make perf-analyzer  Triton's load generator, unpacked into build/ (20 MB; Debian), for benchmarks.overhead
# make peers     install the peers of benchmarks.offline (two environments, some 10 GB)
# make bench-peers  RoBERTa-base (SIZE=large) next to the peers, at each precision, into benchmarks/results/$(PROCESSOR) (ten minutes)
# make release   the three wheels and the Node package into dist/, checked in clean environments (a minute or two)
# make data      fetch the public data sets of tests and benchmarks (1.3 MB; NAMES=all: of the recipes too)
# make prose     check the English of Markdown, comments, messages and docstrings: length of sentences, words to avoid (part of make lint)
# make lint      ruff, mypy and the prose;  make format  formats the code;  make clean  removes all files that make has created
# Use an index with CPU builds of torch: make demo TORCH_INDEX=URL
ifdef TORCH_INDEX
export PIP_EXTRA_INDEX_URL := $(strip $(TORCH_INDEX) $(PIP_EXTRA_INDEX_URL))
endif
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := client/node
NODE_INSTALLED := $(NODE)/node_modules/installed
PROSE := docs/prose
PROSE_INSTALLED := $(PROSE)/node_modules/installed
JAVA := client/java
RUST := client/rust
CPP := client/cpp
# Loads plugins by name, since some of other packages take seconds to import. Removes the files of passed tests.
PYTEST := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/pytest -p pytest_timeout -p pytest_cov -p xdist -o tmp_path_retention_policy=failed
# Keeps the files of quick tests in memory where it has room: their removal from a shared disk takes up to ten seconds.
IN_MEMORY := $(shell test -w /dev/shm && test $$(df --output=avail /dev/shm | tail -1) -gt 2000000 && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)
# Unit tests: two processes, since each imports torch. Tests of the client need no torch and wait most of the time.
# Tests with servers: three files at a time, since two leave a third of two cores idle. Each file is in one process, since
# its tests share the servers. tests/conftest.py sets the order, so that long files do not come last. Compilers of the
# other languages use all cores: two files at a time.
QUICK := --numprocesses 2 --dist worksteal
WAITING := --numprocesses 6 --dist worksteal
PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder
PAIRED := --numprocesses 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help gpu gpu-wheels demo test unit client encoders end-to-end server gateway browser typing polyglot protos docs node go go-modules rust rust-crates cpp cpp-libraries java manifests mypy prose deploy prometheus helm engine test-faults test-fuzz test-soak coverage coverage-quick examples-large test-large bench perf-analyzer peers bench-peers release lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

DISTRIBUTIONS := client/python/pyproject.toml client/python/sentriton/__init__.py gateway/pyproject.toml gateway/requirements.txt server/pyproject.toml server/hatch_build.py $(wildcard server/requirements/*.txt)

$(VENV)/server-installed: $(DISTRIBUTIONS) constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 13) else \
	    f'a checkout of Sentriton needs Python 3.11 or 3.12, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=python3.12 ...')"
	@echo "installing into $(VENV) (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable client/python --editable gateway --editable server
	@touch $@

# Compiles the operators into the cache as well, so that no test waits ten seconds for them. Without g++, tests report it.
$(VENV)/dev-installed: $(VENV)/server-installed requirements-dev.txt
	@echo "installing the tests' packages into $(VENV)"
	@$(PIP) --requirement requirements-dev.txt
	@$(BIN)/python -c "from sentriton_server.encoder.operators import build_library as build; build()" 2>/dev/null || true
	@touch $@

demo: $(VENV)/server-installed
	@$(BIN)/python -m sentriton_server.demo

# Without npm this installs nothing. The tests that need it then skip with the reason, and fail in CI. By default, npm
# waits five minutes for a stalled download.
$(NODE_INSTALLED): $(NODE)/package.json $(NODE)/package-lock.json
	@if command -v npm >/dev/null; then \
	    echo "installing the Node client's packages into $(NODE)/node_modules" && \
	    (cd $(NODE) && npm ci --silent --no-audit --no-fund --fetch-timeout=60000) && touch $@; \
	fi

# Without Go this fetches nothing. Its tests then skip, and fail in CI.
GO := client/go
go-modules:
	@if command -v go >/dev/null; then cd $(GO) && go mod download && cd tools && go mod download; fi

# Without Cargo this fetches nothing. Its tests then skip, and fail in CI.
rust-crates:
	@if command -v cargo >/dev/null; then cd $(RUST) && cargo fetch --locked --quiet; fi

# Without apt-get and a gRPC of the system this fetches nothing. Its tests then skip, and fail in CI.
cpp-libraries:
	@sh $(CPP)/tools/fetch-libraries.sh build/cpp-libraries || true

test: lint $(NODE_INSTALLED) prometheus helm unit client
	$(IN_MEMORY) $(PYTEST) $(QUICK) tests/encoders
	$(PYTEST) $(PARALLEL) tests/typing tests/manifests tests/end_to_end tests/server tests/faults

unit: $(VENV)/dev-installed
	$(IN_MEMORY) $(PYTEST) $(QUICK) tests/unit

client: $(VENV)/dev-installed
	$(PYTEST) $(WAITING) tests/client

encoders: $(VENV)/dev-installed
	$(IN_MEMORY) $(PYTEST) $(QUICK) tests/encoders

end-to-end: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) tests/end_to_end

server: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) tests/server

gateway: $(VENV)/dev-installed browser
	$(PYTEST) $(PAIRED) tests/gateway tests/examples

typing: $(VENV)/dev-installed $(NODE_INSTALLED)
	$(PYTEST) $(PARALLEL) tests/typing

polyglot: $(VENV)/dev-installed $(NODE_INSTALLED) go-modules rust-crates cpp-libraries
	$(PYTEST) $(PAIRED) tests/polyglot

# Measures only the processes of pytest, not commands, Triton's stubs and their models.
COVERED := --cov sentriton --cov sentriton_server --cov-append --cov-report=
coverage: coverage-quick
	$(PYTEST) $(PARALLEL) $(COVERED) tests/end_to_end tests/server
	$(BIN)/coverage report --skip-covered --fail-under 85

coverage-quick: $(VENV)/dev-installed
	@rm -f .coverage
	$(IN_MEMORY) $(PYTEST) $(QUICK) $(COVERED) tests/unit
	$(PYTEST) $(WAITING) $(COVERED) tests/client
	$(BIN)/coverage report --skip-covered --fail-under 81

node: $(NODE_INSTALLED)
	cd $(NODE) && npm run build

go: go-modules
	cd $(GO) && go build ./...

rust: rust-crates
	cd $(RUST) && cargo test --workspace --no-run --locked --quiet

cpp: cpp-libraries
	cmake -C build/cpp-libraries/libraries.cmake -S $(CPP) -B build/cpp/make -D CMAKE_BUILD_TYPE=Release
	cmake --build build/cpp/make --parallel

java:
	cd $(JAVA) && mvn --batch-mode --quiet install

# Without Maven, the Java client's messages stay unchanged.
protos: $(NODE_INSTALLED) go-modules rust-crates
	cd protos && buf=../$(NODE)/node_modules/.bin/buf && $$buf lint && $$buf format --write && $$buf generate
	@if command -v mvn >/dev/null; then \
	    (cd $(JAVA) && mvn --batch-mode --quiet dependency:copy@protoc && chmod +x target/tools/protoc) && \
	    cd protos && ../$(NODE)/node_modules/.bin/buf generate --template buf.gen.java.yaml; \
	else echo "client/java/src/generated is unchanged: it needs Maven"; fi

docs: $(VENV)/docs-installed
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/docs-installed: $(VENV)/server-installed docs/requirements.txt
	@echo "installing the documentation's tools into $(VENV)"
	@$(PIP) --requirement docs/requirements.txt
	@touch $@

manifests: $(VENV)/dev-installed prometheus helm
	$(PYTEST) tests/manifests

deploy: $(VENV)/deploy-installed prometheus helm engine
	$(PYTEST) tests/manifests tests/deploy

# KServe's SDK is unpacked and not installed, since it requires older packages than the server.
$(VENV)/deploy-installed: $(VENV)/dev-installed tests/deploy/requirements.txt examples/requirements-ray.txt
	@echo "installing the packages of the tests of docker/ and examples/"
	@$(PIP) --requirement tests/deploy/requirements.txt
	@$(PIP) --no-deps --upgrade --target build/kserve kserve
	@touch $@

# Debian's package, unpacked and not installed. Without it, its tests skip with the reason.
PROMETHEUS := build/prometheus/usr/bin/prometheus
prometheus:
	@test -x $(PROMETHEUS) || command -v prometheus >/dev/null || { \
	    echo "unpacking Debian's prometheus into build/prometheus" && mkdir -p build/prometheus && cd build/prometheus && \
	    { apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; } && \
	    dpkg -x prometheus_*.deb . && rm prometheus_*.deb; \
	} || echo "Prometheus is not available; put prometheus and promtool on PATH"

# Without a browser, the tests of the gateway's page name the missing programs.
browser:
	@test -x build/browser/usr/bin/chromedriver || command -v chromedriver >/dev/null || { \
	    echo "unpacking Debian's Chromium into build/browser" && tests/gateway/browser.sh build/browser; \
	} || echo "Chromium is not available; put chromium and chromedriver on PATH"

# Built by Go, which fetches its modules (a minute or two, once). Without helm, the chart's tests skip with the reason.
HELM := helm.sh/helm/v3/cmd/helm@v3.22.0
helm:
	@test -x build/helm/helm || command -v helm >/dev/null || { \
	    echo "building $(HELM) into build/helm" && mkdir -p build/helm && GOBIN=$(CURDIR)/build/helm go install $(HELM); \
	} || echo "helm is not available; put helm 3 on PATH"

# Debian's packages of Docker, unpacked and not installed, if no engine runs. The test names the missing programs.
engine:
	@docker version >/dev/null 2>&1 || test -x build/engine/usr/sbin/dockerd || { \
	    echo "unpacking Debian's Docker into build/engine" && tests/deploy/engine/programs.sh build/engine; \
	} || echo "no Docker engine is available; start one"

test-faults: $(VENV)/dev-installed
	$(PYTEST) --quiet-machine tests/faults -m "not long"
	$(PYTEST) --quiet-machine tests/server tests/polyglot -k "cleanly or batched or batches"

test-fuzz: $(VENV)/dev-installed
	SENTRITON_FUZZ=20000 $(PYTEST) tests/faults/test_fuzz.py

test-soak: $(VENV)/dev-installed
	$(PYTEST) tests/faults -m long

examples-large: $(VENV)/dev-installed
	@$(PIP) --requirement examples/requirements-ray.txt --requirement examples/requirements-spark.txt
	$(PYTEST) tests/deploy/test_beyond_one_machine.py

test-large: $(VENV)/dev-installed
	$(PYTEST) tests/server tests/end_to_end -m large

BENCH := $(BIN)/python -W ignore -m benchmarks
PLOTS := build/bench
bench: $(VENV)/dev-installed perf-analyzer
	@mkdir -p $(PLOTS)
	$(BENCH).offline --sentences 128 --rounds 1 --plot $(PLOTS)/offline.png
	$(BENCH).limit --layers 6 --sentences 128 --plot $(PLOTS)/limit.png
	$(BENCH).chain
	$(BENCH).online --size base --layers 6 --lengths mixture --padded --callers 8 64 --seconds 8 --rounds 1 --plot $(PLOTS)/online.png
	$(BENCH).overhead --plot $(PLOTS)/overhead.png
	$(BENCH).single --rounds 1
	$(BENCH).cache --rounds 1
	$(BENCH).first --plot $(PLOTS)/first.png
	$(BENCH).scale --plot $(PLOTS)/scale.png

# The last wheels of Triton's client with perf_analyzer need two small libraries, of CUDA and of Debian.
PERF_ANALYZER := build/perf_analyzer
perf-analyzer: $(PERF_ANALYZER)/perf_analyzer
$(PERF_ANALYZER)/perf_analyzer: $(VENV)/server-installed
	@echo "unpacking perf_analyzer into $(PERF_ANALYZER)"
	@rm -rf $(PERF_ANALYZER) && mkdir -p $(PERF_ANALYZER)/parts
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(PERF_ANALYZER)/parts \
	    tritonclient==2.50.0 nvidia-cuda-runtime-cu12==12.9.79
	@cd $(PERF_ANALYZER)/parts && { apt-get -qq download libb64-0d 2>/dev/null || { apt-get -qq update && apt-get -qq download libb64-0d; }; } && \
	    for wheel in *.whl; do $(CURDIR)/$(BIN)/python -m zipfile -e $$wheel .; done && dpkg -x libb64-0d_*.deb .
	@cp -L $$(find $(PERF_ANALYZER)/parts -name libb64.so.0d) $$(find $(PERF_ANALYZER)/parts -name libcudart.so.12) \
	    $$(find $(PERF_ANALYZER)/parts -path '*/bin/perf_analyzer') $(PERF_ANALYZER)/
	@rm -rf $(PERF_ANALYZER)/parts && chmod +x $@ && touch $@

# Runs all checks of a GPU, on a machine with an NVIDIA driver, Python 3.12 and torch with CUDA, but no network. First run
# `make data gpu-wheels` on a machine with a network, and copy build/gpu-wheels along with the repository (60 MB).
# GPU="--device cpu --size 1x64" is a rehearsal. PYTHON is the interpreter that has torch.
GPU ?=
GPU_PYTHON ?= 3.12
gpu-wheels: $(VENV)/dev-installed
	$(BIN)/python -m benchmarks.gpu_wheels build/gpu-wheels --python $(GPU_PYTHON)

gpu:
	$(PYTHON) benchmarks/gpu_setup.py build/gpu-wheels build/gpu
	@mkdir -p build/gpu-data && cp build/gpu-wheels/*.json build/gpu-data/
	SENTRITON_DATA=build/gpu-data HF_HUB_OFFLINE=1 build/gpu/bin/python -W ignore -m benchmarks.gpu --save build/gpu.json $(GPU)

# Separate environments, since the requirements conflict.
PEERS := benchmarks/peers
peers: $(VENV)/dev-installed .venv-peers/installed .venv-infinity/installed
.venv-peers/installed: $(PEERS)/requirements.txt
.venv-infinity/installed: $(PEERS)/requirements-infinity.txt
.venv-peers/installed .venv-infinity/installed:
	@echo "installing $< into $(@D) (minutes)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Exports come first, since they take most of the time. Then each precision needs a minute. PROCESSOR is a folder.
PROCESSOR ?= here
SIZE ?= base
PRECISIONS ?= fp32 bf16 int8
CONTENDERS ?= sentence-transformers onnx openvino ctranslate2 sentriton
RESULTS := benchmarks/results/$(PROCESSOR)
OFFLINE := $(BENCH).offline --size $(SIZE) --sentences 512 --scratch build/bench/$(SIZE) --contenders $(CONTENDERS)
bench-peers: peers
	$(OFFLINE) --precisions $(PRECISIONS) --prepare
	for precision in $(PRECISIONS); do \
	    $(OFFLINE) --precisions $$precision --save $(RESULTS)/offline-$(SIZE)-$$precision.json || exit; \
	done
	$(BENCH).limit --size $(SIZE) --save $(RESULTS)/limit-$(SIZE).json
	$(BENCH).contention --save $(RESULTS)/contention.json
	$(BENCH).tables

release: $(VENV)/dev-installed $(NODE_INSTALLED)
	@$(BIN)/python -m release

# mypy and the check of the prose run at the same time: neither uses a second core.
lint: $(VENV)/dev-installed $(PROSE_INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory --jobs 2 --output-sync mypy prose

mypy: $(VENV)/dev-installed
	$(BIN)/mypy

# Without npm this does not check the prose, and fails in CI.
prose: $(VENV)/dev-installed $(PROSE_INSTALLED)
	@if test -f $(PROSE_INSTALLED); then \
	    (cd $(PROSE) && node_modules/.bin/textlint --config textlint.json --format unix $$(git ls-files ':/*.md')) && \
	    $(BIN)/python -m docs.prose_of_code; \
	else echo "the prose is not checked: install Node.js 20.3 or later with npm"; test -z "$$CI"; fi

$(PROSE_INSTALLED): $(PROSE)/package.json $(PROSE)/package-lock.json
	@if command -v npm >/dev/null; then \
	    echo "installing the linter of the prose into $(PROSE)/node_modules" && \
	    (cd $(PROSE) && npm ci --silent --no-audit --no-fund --fetch-timeout=60000) && touch $@; \
	fi

format: $(VENV)/dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-peers .venv-infinity build dist $(PROSE)/node_modules $(NODE)/node_modules $(NODE)/dist $(JAVA)/target $(RUST)/target .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# The data sets that tests and benchmarks read. NAMES="nsmc korsts-dev" or NAMES=all fetches others (docs/data.md).
NAMES ?= klue-sts-dev chatbot
.PHONY: data
data: $(VENV)/server-installed
	@$(BIN)/sentriton data $(NAMES)

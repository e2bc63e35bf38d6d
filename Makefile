# make demo      serve the bundled checkpoint, embed three sentences over gRPC, stop everything
# make test      lint, types, unit tests, the client, server tests, manifests, faults (CI runs polyglot and gateway as well)
# make unit      unit tests alone (under three quarters of a minute on two cores)
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
# make node      install and build the Node client (what the tests do by themselves)
# make go        fetch what the Go client and its checks need, and build it
# make rust      fetch what the Rust client and its checks need, and build it
# make cpp       build the C++ client, with the system's gRPC or Debian's, unpacked into build/ (a minute)
# make java      build and test the Java client, and install it into the local Maven repository (half a minute)
# make prometheus  unpack Debian's Prometheus into build/, which the tests of docker/ need
# make manifests images, manifests and alert rules as files (a minute; kubectl, jq, Go for helm and, on Debian, apt-get)
# make deploy    the same at work: images and Compose in a Docker engine, probes, drain, Prometheus, traces, Ray (half an hour)
# make coverage-quick  unit tests and tests of the client, and which lines they ran: at least 81 in 100 (two minutes)
# make coverage  the same with training and tests against a real Triton: at least 85 in 100
# make test-faults  processes that die or hang, full disks, overload, any message, on a quiet machine: a table (ten minutes)
# make test-fuzz  20,000 messages of any kind (five minutes);  make test-soak  ten minutes of load, memory compared
# make examples-large  the examples for Ray Data and Spark, on a local Ray and Spark (fetches some 700 MB; Java 17 or later)
# make test-large  RoBERTa-large's architecture on a real Triton (minutes, several GiB)
# make bench     every benchmark in a short run (twenty minutes on two cores), plots in build/bench
# make perf-analyzer  Triton's load generator, unpacked into build/ (20 MB; Debian), for benchmarks.overhead
# make peers     install what benchmarks.offline compares with (two environments, some 10 GB)
# make bench-peers  RoBERTa-base (SIZE=large) next to the peers, at each precision, into benchmarks/results/$(PROCESSOR) (ten minutes)
# make release   both wheels and the Node package into dist/, checked in clean environments (a minute or two)
# make data      fetch the public data sets of tests and benchmarks (1.3 MB; NAMES=all: of the recipes too)
# make prose     check the English of Markdown, comments and texts in Python: length of sentences, words to avoid (part of make lint)
# make lint      ruff, mypy and the prose;  make format  puts the code in shape;  make clean  removes everything that make made
# An index with CPU builds of torch, which pip then takes: make demo TORCH_INDEX=URL
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
# Plugins by name: of those that other packages bring, one takes seconds to import. A test's files go when it passes.
PYTEST := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/pytest -p pytest_timeout -p pytest_cov -p xdist -o tmp_path_retention_policy=failed
# Unit tests: a free process takes the next; a third process would import torch once more. Tests of the client wait most
# of the time, and need no torch. Tests with servers: two files at a time, each in one process, since its tests share
# the servers that they start. The order is that of tests/conftest.py: xdist's own leaves long files for the end.
QUICK := --numprocesses 2 --dist worksteal
WAITING := --numprocesses 6 --dist worksteal
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help gpu gpu-wheels demo test unit client encoders end-to-end server gateway browser typing polyglot protos docs node go go-modules rust rust-crates cpp cpp-libraries java manifests prose deploy prometheus helm engine test-faults test-fuzz test-soak coverage coverage-quick examples-large test-large bench perf-analyzer peers bench-peers release lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

DISTRIBUTIONS := client/python/pyproject.toml client/python/sentriton/__init__.py gateway/pyproject.toml gateway/requirements.txt server/pyproject.toml server/hatch_build.py $(wildcard server/requirements/*.txt)

$(VENV)/server-installed: $(DISTRIBUTIONS) constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 13) else \
	    f'a checkout of Sentriton needs Python 3.11 or 3.12, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=python3.12 ...')"
	@echo "installing into $(VENV) (a minute or two, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --editable client/python --editable gateway --editable server
	@touch $@

$(VENV)/dev-installed: $(VENV)/server-installed requirements-dev.txt
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) --requirement requirements-dev.txt
	@touch $@

demo: $(VENV)/server-installed
	@$(BIN)/python -m sentriton_server.demo

# Without npm this installs nothing: the tests that need it say so, and fail in CI. By default, npm waits five minutes
# for a download that stalls.
$(NODE_INSTALLED): $(NODE)/package.json $(NODE)/package-lock.json
	@if command -v npm >/dev/null; then \
	    echo "installing what the Node client needs into $(NODE)/node_modules" && \
	    (cd $(NODE) && npm ci --silent --no-audit --no-fund --fetch-timeout=60000) && touch $@; \
	fi

# Without Go this fetches nothing: its tests say so, and fail in CI.
GO := client/go
go-modules:
	@if command -v go >/dev/null; then cd $(GO) && go mod download && cd tools && go mod download; fi

# Without Cargo this fetches nothing: its tests say so, and fail in CI.
rust-crates:
	@if command -v cargo >/dev/null; then cd $(RUST) && cargo fetch --locked --quiet; fi

# Without apt-get and a gRPC of the system this fetches nothing: its tests say so, and fail in CI.
cpp-libraries:
	@sh $(CPP)/tools/fetch-libraries.sh build/cpp-libraries || true

test: lint $(NODE_INSTALLED) prometheus helm coverage-quick
	$(PYTEST) $(QUICK) tests/encoders
	$(PYTEST) $(PARALLEL) tests/typing tests/manifests tests/end_to_end tests/server tests/faults

unit: $(VENV)/dev-installed
	$(PYTEST) $(QUICK) tests/unit

client: $(VENV)/dev-installed
	$(PYTEST) $(WAITING) tests/client

encoders: $(VENV)/dev-installed
	$(PYTEST) $(QUICK) tests/encoders

end-to-end: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) tests/end_to_end

server: $(VENV)/dev-installed
	$(PYTEST) $(PARALLEL) tests/server

gateway: $(VENV)/dev-installed browser
	$(PYTEST) $(PARALLEL) tests/gateway tests/examples

typing: $(VENV)/dev-installed $(NODE_INSTALLED)
	$(PYTEST) $(PARALLEL) tests/typing

polyglot: $(VENV)/dev-installed $(NODE_INSTALLED) go-modules rust-crates cpp-libraries
	$(PYTEST) $(PARALLEL) tests/polyglot

# Of the processes that run pytest alone: commands, Triton's stubs and the models in them are not measured.
COVERED := --cov sentriton --cov sentriton_server --cov-append --cov-report=
coverage: coverage-quick
	$(PYTEST) $(PARALLEL) $(COVERED) tests/end_to_end tests/server
	$(BIN)/coverage report --skip-covered --fail-under 85

coverage-quick: $(VENV)/dev-installed
	@rm -f .coverage
	$(PYTEST) $(QUICK) $(COVERED) tests/unit
	$(PYTEST) $(WAITING) $(COVERED) tests/client
	$(BIN)/coverage report --skip-covered --fail-under 81

node: $(NODE_INSTALLED)
	cd $(NODE) && npm run build

go: go-modules
	cd $(GO) && go build ./...

rust: rust-crates
	cd $(RUST) && cargo build --locked

cpp: cpp-libraries
	cmake -C build/cpp-libraries/libraries.cmake -S $(CPP) -B build/cpp/make -D CMAKE_BUILD_TYPE=Release
	cmake --build build/cpp/make --parallel

java:
	cd $(JAVA) && mvn --batch-mode --quiet install

# Without Maven, the Java client's messages stay as they are.
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

# KServe's SDK is unpacked and not installed: it wants older packages than the server.
$(VENV)/deploy-installed: $(VENV)/dev-installed tests/deploy/requirements.txt examples/requirements-ray.txt
	@echo "installing what the tests of docker/ and examples/ need besides"
	@$(PIP) --requirement tests/deploy/requirements.txt
	@$(PIP) --no-deps --upgrade --target build/kserve kserve
	@touch $@

# Debian's package, unpacked and not installed. Without it, its tests say so.
PROMETHEUS := build/prometheus/usr/bin/prometheus
prometheus:
	@test -x $(PROMETHEUS) || command -v prometheus >/dev/null || { \
	    echo "unpacking Debian's prometheus into build/prometheus" && mkdir -p build/prometheus && cd build/prometheus && \
	    { apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; } && \
	    dpkg -x prometheus_*.deb . && rm prometheus_*.deb; \
	} || echo "no Prometheus could be had: put prometheus and promtool on PATH"

# Without a browser, the tests of the gateway's page name the missing programs.
browser:
	@test -x build/browser/usr/bin/chromedriver || command -v chromedriver >/dev/null || { \
	    echo "unpacking Debian's Chromium into build/browser" && tests/gateway/browser.sh build/browser; \
	} || echo "no Chromium could be had: put chromium and chromedriver on PATH"

# Built by Go, which fetches its modules (a minute or two, once). Without helm, the chart's tests say so.
HELM := helm.sh/helm/v3/cmd/helm@v3.22.0
helm:
	@test -x build/helm/helm || command -v helm >/dev/null || { \
	    echo "building $(HELM) into build/helm" && mkdir -p build/helm && GOBIN=$(CURDIR)/build/helm go install $(HELM); \
	} || echo "no helm could be had: put helm 3 on PATH"

# Debian's packages of Docker, unpacked and not installed, where no engine runs. The test names the missing programs.
engine:
	@docker version >/dev/null 2>&1 || test -x build/engine/usr/sbin/dockerd || { \
	    echo "unpacking Debian's Docker into build/engine" && tests/deploy/engine/programs.sh build/engine; \
	} || echo "no Docker engine could be had: start one"

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
	$(PYTEST) tests/server -m large

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

# The last wheels of Triton's client that carry perf_analyzer need a library of CUDA's and one of Debian's, both small.
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

# All that a GPU is asked, in one run, on a machine with an NVIDIA driver, Python 3.12 and torch with CUDA, but no network.
# `make gpu-wheels` on a machine with a network comes before: build/gpu-wheels travels with the repository (60 MB).
# GPU="--device cpu --size 1x64" rehearses it. PYTHON: the one that has torch.
GPU ?=
GPU_PYTHON ?= 3.12
gpu-wheels: $(VENV)/dev-installed
	$(BIN)/python -m benchmarks.gpu_wheels build/gpu-wheels --python $(GPU_PYTHON)

gpu:
	$(PYTHON) benchmarks/gpu_setup.py build/gpu-wheels build/gpu
	@mkdir -p build/gpu-data && cp build/gpu-wheels/*.json build/gpu-data/
	SENTRITON_DATA=build/gpu-data HF_HUB_OFFLINE=1 build/gpu/bin/python -W ignore -m benchmarks.gpu --save build/gpu.json $(GPU)

# Their packages' requirements exclude ours, and each other's.
PEERS := benchmarks/peers
peers: $(VENV)/dev-installed .venv-peers/installed .venv-infinity/installed
.venv-peers/installed: $(PEERS)/requirements.txt
.venv-infinity/installed: $(PEERS)/requirements-infinity.txt
.venv-peers/installed .venv-infinity/installed:
	@echo "installing $< into $(@D) (minutes)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Exports first, since they take most of the time: then a precision has the machine for a minute. PROCESSOR: a folder.
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

lint: $(VENV)/dev-installed prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Without npm the prose is not checked, which fails in CI.
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

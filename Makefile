# Two commands set everything up on a fresh Debian machine with a Swift toolchain: make trace, make test.
PROGRAM := .build/release/pixtral-ref
PACKAGES := libopenblas-dev zlib1g-dev libjpeg-dev libssl-dev libcurl4-openssl-dev pkg-config
REQUEST ?= Fixtures/requests/photo.json
OUT ?= trace-out
# Python with the packages of Tools/requirements.txt; needed by the targets below the line only.
PYTHON ?= python3

.PHONY: trace test build serve packages install docs suite judge bench goldens full check check-hf check-server mutants fuzz format clean

# A bundled photo and prompt through the whole of a bundled checkpoint; every activation lands in trace-out.
trace: build
	$(PROGRAM) trace --checkpoint seeded:tiny --request $(REQUEST) --out $(OUT)

# Tests run in release: their matrix products would take minutes in debug. What passes is one line a suite; of what
# fails everything is shown.
test: packages
	@mkdir -p .build
	@echo "building and testing; everything is written to .build/test.log"
	@swift test -c release --disable-xctest > .build/test.log 2>&1; code=$$?; \
	if [ $$code = 0 ]; then sed -nE 's/^. Suite "(.*)" passed.*/ok  \1/p; /Test run with/p' .build/test.log; \
	else grep -vE '^(✔|◇|\[[0-9]+/)| started\.$$' .build/test.log; fi; exit $$code

# Without the server, whose libraries take longer to build than all the rest.
build: export PIXTRAL_WITHOUT_SERVER = 1
build: packages
	swift build -c release --product pixtral-ref

# The server, a program of its own beside the other; `pixtral-ref serve` starts it.
serve: build
	swift build -c release --product pixtral-ref-serve

packages:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  echo "installing" $$missing; \
	  sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# The program with the tokenizer, a manual page and shell completions; the server too if `make serve` has built it.
# A package maker gives DESTDIR.
PREFIX ?= /usr/local
DESTDIR ?=
install: build
	install -Dm755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/pixtral-ref
	if [ -x $(PROGRAM)-serve ]; then install -Dm755 $(PROGRAM)-serve $(DESTDIR)$(PREFIX)/bin/pixtral-ref-serve; fi
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/pixtral-ref/Fixtures/tokenizer Fixtures/tokenizer/*
	cp -r Fixtures/manifest.json Fixtures/cases Fixtures/demo Fixtures/endpoint Fixtures/faults Fixtures/images Fixtures/schema \
	  $(DESTDIR)$(PREFIX)/share/pixtral-ref/Fixtures/
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/pixtral-ref LICENSE-MRL.md NOTICE README.md
	swift package plugin generate-manual --date "$$(git log -1 --format=%cs 2>/dev/null || date +%F)" >/dev/null
	install -Dm644 .build/plugins/GenerateManual/outputs/pixtral-ref/pixtral-ref.1 \
	  $(DESTDIR)$(PREFIX)/share/man/man1/pixtral-ref.1
	mkdir -p .build/completions
	for shell in bash zsh fish; do \
	  $(PROGRAM) --generate-completion-script $$shell > .build/completions/$$shell || exit 1; done
	install -Dm644 .build/completions/bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/pixtral-ref
	install -Dm644 .build/completions/zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_pixtral-ref
	install -Dm644 .build/completions/fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/pixtral-ref.fish

# What a Swift program may call, as DocC pages below .build/documentation. A warning is an error, and so is a
# public symbol without a word.
docs: export PIXTRAL_DOCS = 1
docs: export PIXTRAL_WITHOUT_SERVER = 1
docs: packages
	@mkdir -p .build/documentation
	@for library in PixtralStorage PixtralImage PixtralText PixtralReference; do \
	  swift package --scratch-path .build/docs --allow-writing-to-directory .build/documentation \
	    generate-documentation --target $$library --output-path .build/documentation/$$library \
	    --warnings-as-errors > .build/docs.log 2>&1 || { cat .build/docs.log; exit 1; }; done
	@python3 Tools/checks/check_docs.py .build/docs

# The full shape, 124 billion weights made as they are needed, against digests of a float64 run on a GPU. On two
# cores: a minute and 72 MB for the text, ten minutes or more and up to 0.7 GB for each of the others.
full: build
	@code=0; for name in text image two-images; do \
	  case=Fixtures/cases/model/large/$$name; out=.build/full/$$name; \
	  $(PROGRAM) trace --checkpoint seeded:pixtral-large --request $$case/request.json --digest --out $$out \
	    > /dev/null || exit; \
	  printf '%s: ' $$name; $(PROGRAM) compare $$case $$out > $$out.txt || code=1; sed -n '/^$$/,$$p' $$out.txt | tail -n 2; \
	done; exit $$code

# The cases for whoever has no Swift, with what they name, the pages that say how to read them, and a reader of a
# hundred lines. Sorted, without dates or owners: one commit gives the same bytes anywhere.
SUITE = pixtral-ref-suite-$(shell sed -n 's/.*static let version = "\(.*\)"/\1/p' Sources/PixtralProgram/Program.swift)
SUITE_FILES = Fixtures LICENSE-MRL.md NOTICE Tools/reader/judge.py $(patsubst %,Docs/%.md,Answer Cases Conformance Faults Images Model Tokens Trace)
suite:
	@mkdir -p .build
	@tar --create --sort=name --format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	  --exclude=__pycache__ --transform='s,^,$(SUITE)/,' $(SUITE_FILES) | gzip --no-name --best > .build/$(SUITE).tar.gz
	@ls -l .build/$(SUITE).tar.gz

format:
	swift format --in-place --recursive --parallel Package.swift Sources Snippets Tests Tools/fuzz Tools/bench

clean:
	rm -rf .build trace-out

# Judges the judge: runtimes of which it is known what is wrong with them, or that nothing is. They need three
# packages of Python, which are installed below .build.
JUDGE = .build/judge/bin/python
judge: build
	@test -x $(JUDGE) || python3 -m venv .build/judge
	@grep -E '^(numpy|pillow|safetensors)==' Tools/requirements.txt > .build/judge/requirements.txt
	@$(JUDGE) -m pip install --quiet --disable-pip-version-check -r .build/judge/requirements.txt
	@$(JUDGE) Tools/checks/check_conformance.py $(PROGRAM) --numpy

# ---- needs Python ----

# How fast weights are made, their share of a run, and what requests save that share them. Then beside the peers, taking turns: tokens and images on one
# thread, the vision encoder at full size, and what a position of an answer costs.
bench: build
	PIXTRAL_BENCH=1 swift build -c release --product products
	$(PYTHON) Tools/bench/bench_weights.py $(PROGRAM) .build/release/products
	$(PYTHON) -W ignore Tools/bench/bench_tokens.py $(PROGRAM)
	$(PYTHON) Tools/bench/bench_images.py $(PROGRAM)
	$(PYTHON) Tools/bench/bench_vision.py $(PROGRAM)
	$(PYTHON) Tools/bench/bench_answer.py $(PROGRAM)
	$(PYTHON) Tools/bench/bench_answer.py $(PROGRAM) --layer --positions 16,256,1024 --tokens 9

# Makes the golden fixtures anew from mistral-common, the oracle and transformers.
goldens:
	$(PYTHON) Tools/goldens/make_images.py
	$(PYTHON) Tools/goldens/make_goldens.py
	$(PYTHON) Tools/goldens/make_image_cases.py
	$(PYTHON) Tools/goldens/make_rgb_cases.py
	$(PYTHON) Tools/goldens/make_step_cases.py
	$(PYTHON) Tools/goldens/make_answer_cases.py
	$(PYTHON) Tools/goldens/releases.py --fetch
	$(PYTHON) Tools/goldens/make_token_cases.py
	$(PYTHON) Tools/goldens/make_openai_cases.py
	$(PYTHON) Tools/checks/check_chat_template.py
	$(PYTHON) Tools/checks/check_exposes.py
	$(PYTHON) Tools/checks/check_fault_ids.py
	$(PYTHON) Tools/checks/check_cases.py
	$(PYTHON) Tools/goldens/make_fault_answers.py
	$(PYTHON) Tools/goldens/make_demo.py
	$(PYTHON) Tools/goldens/make_manifest.py

# The documents against what they describe; fresh random checkpoints, images and requests, against the
# oracle, transformers and mistral-common.
check: build
	$(PYTHON) Tools/checks/check_libraries.py
	$(PYTHON) Tools/checks/check_cases.py
	$(PYTHON) Tools/checks/check_tokens_document.py
	PIXTRAL_FUZZ=1 swift build -c release --product readers
	$(PYTHON) Tools/checks/check_storage.py .build/release/readers
	$(PYTHON) Tools/goldens/make_checkpoints.py --out .build/odd-checkpoints
	$(PYTHON) Tools/checks/check_checkpoints.py $(PROGRAM) .build/odd-checkpoints
	$(PYTHON) Tools/checks/check_transformers_taps.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_transformers_taps.py $(PROGRAM) --checkpoint seeded:small
	$(PYTHON) Tools/checks/check_generate.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_conversions.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_walkthrough.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_outputs.py $(PROGRAM) --rounds 20
	$(PYTHON) Tools/checks/check_html.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_full_width.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_single_steps.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_steps.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_mistake_fits.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_conformance.py $(PROGRAM)
	$(PYTHON) -W ignore Tools/checks/check_reader.py $(PROGRAM)
	$(PYTHON) Tools/checks/check_images.py $(PROGRAM) 200
	$(PYTHON) Tools/checks/check_image_files.py $(PROGRAM) 2000
	$(PYTHON) Tools/checks/check_limits.py $(PROGRAM)
	$(PYTHON) Tools/goldens/releases.py --fetch
	$(PYTHON) Tools/checks/check_tokens.py $(PROGRAM) 2000
	$(PYTHON) Tools/checks/check_openai.py $(PROGRAM) 2000 --releases

# The server, asked by its clients, by strangers, and for what it must not read or contact. In an environment that has
# Tools/requirements-server.txt too; the load of ten minutes is check_server_hostile.py's, with --load 600.
SERVER = .build/release/pixtral-ref-serve
check-server: serve
	$(PYTHON) Tools/goldens/releases.py --fetch
	$(PYTHON) Tools/checks/check_clients.py $(SERVER)
	$(PYTHON) Tools/checks/check_served_requests.py $(SERVER) 2000
	$(PYTHON) Tools/checks/check_reach.py $(SERVER)
	$(PYTHON) Tools/checks/check_server_hostile.py $(SERVER)

# Mistakes put into the oracle, one at a time: do the cases see them? Makes Docs/Coverage.md; ten minutes.
mutants:
	$(PYTHON) Tools/checks/check_mutants.py --write

# The Hugging Face folder through transformers' Auto classes, and the last section of Docs/ChatTemplates.md. In an
# environment of its own: this one has torchvision too, from PyPI, beside which the other checks do not start.
check-hf: build
	$(PYTHON) Tools/checks/check_hf_folder.py $(PROGRAM) --write

# Mutated files for the readers of images, safetensors, JSON, params.json and index files, ten minutes each, under AddressSanitizer. Python without packages will do.
SECONDS ?= 600
fuzz: packages
	PIXTRAL_FUZZ=1 swift build -c release --product fuzz --scratch-path .build/fuzz --sanitize fuzzer \
	  -Xswiftc -sanitize=fuzzer,address -Xswiftc -parse-as-library -Xcc -fsanitize=fuzzer-no-link,address
	$(PYTHON) Tools/fuzz/fuzz.py .build/fuzz/release/fuzz --seconds $(SECONDS)

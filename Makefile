# make demo: installs what is missing, builds, runs a real operation end to end, shows the result.
# make test: everything, real Podman included.

CARGO ?= cargo
PREFIX ?= /usr
DESTDIR ?=
# Where the programs to install are.
BUILT ?= target/release

.PHONY: build demo test test-mpi torture bench lint install clean

build:
	$(CARGO) build --release --locked

demo:
	bash tests/testbed/up.sh
	$(CARGO) build --locked
	bash tests/demo.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

test: lint
	bash tests/testbed/up.sh
	bash tests/testbed/systemd-root.sh
	bash tests/run.sh
	bash tests/testbed/down.sh

# Gangs with a real MPI; makes an image of 160 MB, which takes some minutes the first time.
test-mpi:
	bash tests/testbed/up.sh
	bash tests/testbed/mpi.sh
	$(CARGO) test --locked --test mpi -- --ignored

# The long forms of what is cut, killed and damaged; see docs/reliability.md.
torture:
	bash tests/testbed/up.sh
	PERIGEE_TORTURE=long $(CARGO) test --locked --test torture --test boundaries -- --nocapture --include-ignored
	PERIGEE_TORTURE=long $(CARGO) test --locked --test power -- --nocapture

# Perigee beside what a user would pick instead, on real Podman: about ten minutes on a quiet machine, then a table.
# make bench ONLY="turnaround chain" measures these alone. See docs/performance.md.
bench:
	bash tests/testbed/up.sh
	$(CARGO) bench --locked --bench bench -- $(ONLY)

install: build
	install -Dm755 -t $(DESTDIR)$(PREFIX)/bin $(BUILT)/perigee $(BUILT)/perigeed
	install -Dm644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/perigeed.service
	install -Dm644 systemd/perigee.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/perigee.conf
	install -Dm644 systemd/perigee.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/perigee.conf
	test -e $(DESTDIR)/etc/perigee/perigee.yaml || install -Dm644 config/perigee.yaml $(DESTDIR)/etc/perigee/perigee.yaml

clean:
	bash tests/testbed/down.sh || true
	$(CARGO) clean

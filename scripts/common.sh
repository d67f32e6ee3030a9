# Shared by test.sh and quickstart.sh: set-up that does only what is missing, and steps that print one line each.
# Sourced with the repository's root as the current folder.

LOGS=build/logs
mkdir -p "$LOGS"
JOBS=$(nproc)
# Checkouts in other folders share what ccache has compiled.
export CCACHE_BASEDIR=$PWD

# step NAME COMMAND...: runs quietly; on failure shows the end of the log. Sets STEP_SECONDS.
step() {
  local name=$1 log start status
  shift
  log="$LOGS/$(printf '%s' "$name" | tr -c 'a-zA-Z0-9\n' '-').log"
  printf '%-28s ' "$name"
  start=$SECONDS
  "$@" >"$log" 2>&1
  status=$?
  STEP_SECONDS=$((SECONDS - start))
  STEP_LOG=$log
  if [ $status -eq 0 ]; then
    printf 'ok %5ds\n' "$STEP_SECONDS"
  else
    printf 'FAILED %ds\n' "$STEP_SECONDS"
    tail -n 60 "$log" | sed 's/^/    /'
    printf '    whole log: %s\n' "$log"
  fi
  return $status
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# apt is asked only when a package of scripts/packages.txt is missing.
install_packages() {
  local wanted missing
  wanted=$(grep -v '^#' scripts/packages.txt)
  missing=$(for p in $wanted; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || echo "$p"
  done)
  [ -z "$missing" ] && return 0
  if ! command -v apt-get >/dev/null; then
    echo "these Debian packages are missing and there is no apt-get:" $missing
    return 1
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}

# .venv with what requirements-dev.txt lists and what pyproject.toml lists for users; again only when those files change.
make_venv() {
  local stamp
  stamp=$(cat requirements-dev.txt pyproject.toml | sha256sum)
  [ -f .venv/stamp ] && [ "$(cat .venv/stamp)" = "$stamp" ] && return 0
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv || return 1
  .venv/bin/python scripts/list_requirements.py >build/requirements.txt &&
    .venv/bin/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt -r build/requirements.txt || return 1
  # The package is used from the source tree; the release build puts the extension beside it.
  echo "$PWD/python" >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/lowp.pth"
  echo "$stamp" >.venv/stamp
}

build_release() {
  cmake --preset release && cmake --build --preset release
}

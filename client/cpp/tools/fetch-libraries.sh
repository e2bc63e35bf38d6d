#!/bin/sh
# Prepares gRPC, protobuf and GoogleTest for a build of the C++ client: fetch-libraries.sh FOLDER
#
# FOLDER/libraries.cmake is for `cmake -C`. If the system has the libraries, that file is empty. Otherwise, on Debian
# and its derivatives, this downloads their packages and unpacks them into FOLDER. It needs no root and installs
# nothing.
set -eu

packages="libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler libgtest-dev"
folder=$(mkdir -p "$1" && cd "$1" && pwd)

has_system_libraries() {
    command -v protoc >/dev/null && command -v grpc_cpp_plugin >/dev/null && command -v pkg-config >/dev/null &&
        pkg-config --exists grpc++ protobuf gtest
}

# The missing packages, with their dependencies.
missing() {
    apt-get "$@" --simulate --no-install-recommends install $packages | sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}

fetch() {
    cd "$folder/packages"
    # As root, apt drops its rights and could not write here.
    wanted=$(missing "$@")
    [ -n "$wanted" ] && apt-get "$@" -o APT::Sandbox::User=root download $wanted >/dev/null || return 1
    for package in *.deb; do
        dpkg --extract "$package" "$folder" || return 1
    done
}

# With new package lists, since the system's are missing or old.
fetch_with_own_lists() {
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    set -- -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache"
    apt-get "$@" -o APT::Sandbox::User=root update >/dev/null
    fetch "$@"
}

# protoc finds its libraries here.
wrap() {
    mv "$folder/usr/bin/$1" "$folder/usr/bin/$1.unwrapped"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$folder/usr/bin/$1.unwrapped" >"$folder/usr/bin/$1"
    chmod +x "$folder/usr/bin/$1"
}

if has_system_libraries; then
    echo "# The libraries of the system." >"$folder/libraries.cmake"
    exit
fi
if [ -f "$folder/libraries.cmake" ] && [ -x "$folder/usr/bin/grpc_cpp_plugin" ]; then
    exit
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "no gRPC for C++ here, and no apt-get; install gRPC, protobuf and GoogleTest" >&2
    exit 1
fi
rm -rf "$folder/usr" "$folder/packages"
mkdir -p "$folder/packages"
(fetch 2>/dev/null) || (fetch_with_own_lists)
libraries=$(dirname "$(find "$folder/usr/lib" -name libgrpc++.so)")
for program in protoc grpc_cpp_plugin; do
    wrap "$program"
done
# A package of headers has links to libraries of another package, which the system may have.
for link in "$libraries"/*.so; do
    library=$(readlink "$link" || true)
    if [ -n "$library" ] && [ ! -e "$link" ]; then
        ln -s "/usr/lib/$(basename "$libraries")/$library"* "$libraries"
    fi
done
# Programs find the libraries here, and so do the libraries: this needs the older of the two tags.
cat >"$folder/libraries.cmake.new" <<EOF
set(CMAKE_PREFIX_PATH "$folder/usr" CACHE PATH "")
set(CMAKE_EXE_LINKER_FLAGS "-L$libraries -Wl,-rpath,$libraries -Wl,--disable-new-dtags" CACHE STRING "")
set(CMAKE_SHARED_LINKER_FLAGS "-L$libraries -Wl,-rpath,$libraries -Wl,--disable-new-dtags" CACHE STRING "")
EOF
mv "$folder/libraries.cmake.new" "$folder/libraries.cmake"
rm -rf "$folder/packages" "$folder/lists" "$folder/cache"

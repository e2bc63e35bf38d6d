#pragma once

#include <filesystem>
#include <string>

namespace sentriton {

/// A new folder, which goes with this.
class Folder {
public:
    Folder();
    ~Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    /// Writes a file and returns its path.
    std::string write(const std::string& name, const std::string& content) const;

private:
    std::filesystem::path path_;
};

/// A certificate of localhost, its own authority, and its key: as PEM and as files.
struct Certificate {
    Certificate(const Folder& folder, const std::string& name);

    std::string certificate;
    std::string key;
    std::string certificate_file;
    std::string key_file;
};

}  // namespace sentriton

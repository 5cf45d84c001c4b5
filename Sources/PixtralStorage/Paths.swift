import Glibc

/// Names of the entries of a folder, sorted; nil if it cannot be read.
package func fileNames(in folder: String) -> [String]? {
  guard let directory = opendir(folder) else { return nil }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != "." && name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// Whether a path leads to a folder.
package func isFolder(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// Whether two paths lead to one file or folder that exists, through links or under two names.
package func isSameFile(_ a: String, _ b: String) -> Bool {
  var status = stat()
  return stat(a, &status) == 0 && isAny(of: [b], status)
}

/// Whether two paths are one name in one folder, whether there is a file or not.
package func isSamePlace(_ a: String, _ b: String) -> Bool {
  fileName(of: a) == fileName(of: b) && isSameFile(folder(of: a), folder(of: b))
}

/// Whether any of some paths leads to the file that has this status.
func isAny(of paths: [String], _ status: stat) -> Bool {
  paths.contains { path in
    var other = stat()
    return stat(path, &other) == 0 && isSame(other, status)
  }
}

func isSame(_ a: stat, _ b: stat) -> Bool { a.st_dev == b.st_dev && a.st_ino == b.st_ino }

/// The folder that a file's path names: `.` where it names none.
package func folder(of path: String) -> String {
  guard let slash = lastSlash(path) else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// What stands behind the last slash of a path.
package func fileName(of path: String) -> String {
  guard let slash = lastSlash(path) else { return path }
  return String(path[path.utf8.index(after: slash)...])
}

/// By bytes, as the system sees a path: in a string of characters an accent may belong to the slash.
private func lastSlash(_ path: String) -> String.Index? { path.utf8.lastIndex(of: UInt8(ascii: "/")) }

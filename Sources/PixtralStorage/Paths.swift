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
    names.append(name)
  }
  return names.sorted()
}

/// Whether a path leads to a folder.
package func isFolder(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// Whether two paths lead to one file that exists.
package func isSameFile(_ a: String, _ b: String) -> Bool {
  var (first, second) = (stat(), stat())
  return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev
    && first.st_ino == second.st_ino
}

/// A path whose folder is written without links: two names of one file in one folder become one,
/// whether there is a file or not.
package func plainPath(_ path: String) -> String {
  let name = path.split(separator: "/", omittingEmptySubsequences: false).last.map(String.init) ?? ""
  guard let folder = realpath(path.contains("/") ? String(path.dropLast(name.count)) : ".", nil) else {
    return path
  }
  defer { free(folder) }
  return "\(String(cString: folder))/\(name)"
}

/// The folder that a file's path names: `.` where it names none.
package func folder(of path: String) -> String {
  guard let slash = path.lastIndex(of: "/") else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// Removes a file, if it is there.
package func remove(file path: String) { unlink(path) }

import CCrypto
import Glibc

/// Names of the entries of a folder; nil if it cannot be read.
func fileNames(in folder: String) -> [String]? {
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

/// Whether two paths lead to one file that exists.
public func isSameFile(_ a: String, _ b: String) -> Bool {
  var (first, second) = (stat(), stat())
  return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino
}

/// A path whose folder is written without links: two names of one file in one folder become one, whether there is a file or not.
public func plainPath(_ path: String) -> String {
  let name = path.split(separator: "/", omittingEmptySubsequences: false).last.map(String.init) ?? ""
  guard let folder = realpath(path.contains("/") ? String(path.dropLast(name.count)) : ".", nil) else { return path }
  defer { free(folder) }
  return "\(String(cString: folder))/\(name)"
}

/// SHA-256, by libcrypto.
public struct SHA256: ~Copyable {
  private let context = EVP_MD_CTX_new()

  public init() { EVP_DigestInit_ex(context, EVP_sha256(), nil) }

  deinit { EVP_MD_CTX_free(context) }

  public func update(_ bytes: UnsafeRawBufferPointer) { EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) }

  public func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  public consuming func hexDigest() -> String {
    var digest = [UInt8](repeating: 0, count: 32)
    EVP_DigestFinal_ex(context, &digest, nil)
    return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

func remove(file path: String) { unlink(path) }

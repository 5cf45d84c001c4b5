import PixtralStorage

/// A stored tensor seen as the matrix of a tap, though another runtime may have it in another form.
struct TapView: Sendable {
  /// What had to be done to see it so.
  enum Adjustment: Sendable, Hashable {
    /// `[1, rows, columns]`, as every hook in PyTorch gives it.
    case batchDropped
    /// `[rows, columns, 1]` and the like.
    case onesDropped
    /// `[rows, heads, head_dim]`.
    case headsJoined
    /// `[heads, rows, head_dim]`.
    case headsMoved
    /// One row of logits against all: only the last is compared.
    case lastRow
  }

  let tensor: StoredTensor
  private(set) var rows: Int
  private(set) var columns: Int
  var adjustments: [Adjustment] = []
  /// Which rows of the tensor these are, if not all in their order.
  private var selected: [Int]?
  /// Of q and k in half-split order: the columns of a head. A width that makes no whole heads is
  /// left as it is.
  var headDim: Int? { didSet { if let width = headDim, !columns.isMultiple(of: width) { headDim = nil } } }
  /// Of `[heads, rows, head_dim]`: how many heads, and all its rows.
  private var headsFirst: (heads: Int, rows: Int)?

  /// The tensor as a matrix: its first dimension is the rows, all others together are the columns.
  /// Pixels [3, height, width] have a row a line of a channel.
  init(_ tensor: StoredTensor) {
    self.tensor = tensor
    (rows, columns) = Self.matrix(tensor.shape, tensor.name)
  }

  private static func matrix(_ shape: [Int], _ name: String) -> (rows: Int, columns: Int) {
    let shape = withoutBatch(shape)
    let isPixels = shape.count == 3 && TapPlace.isPixels(name)
    let split = min(isPixels ? 2 : 1, shape.count)
    return (shape[..<split].reduce(1, *), shape[split...].reduce(1, *))
  }

  /// The tensor of a candidate as the matrix that a reference has: in every way in which its shape
  /// can be read so. None if it is another shape; two where there are as many heads as rows.
  ///
  /// - shape: the reference's.
  /// - kept: of a case: the rows of all that the reference has.
  /// - total: how many rows the run gives the tap; nil if that is not known.
  /// - heads: how many heads it has; nil if that is not known.
  static func readings(of tensor: StoredTensor, like shape: [Int], kept: [Int]?, total: Int?, heads: Int?)
    -> [TapView]
  {
    var view = TapView(tensor)
    (view.rows, view.columns) = matrix(shape, tensor.name)
    if tensor.shape == shape { return [view] }
    // The rows and columns of a digest are those that it has.
    if tensor.digest != nil { return [] }
    if Self.withoutBatch(tensor.shape) == Self.withoutBatch(shape) {
      if tensor.shape.count > shape.count { view.adjustments = [.batchDropped] }
      return [view]
    }
    var shape = tensor.shape
    // The logits of one position, the log-probabilities of one answer.
    if shape == [view.columns], view.isLogits || view.tensor.name == "logprobs" { shape.insert(1, at: 0) }
    while true {
      let readings = [view.rowsFirst(shape, kept, total), view.headsFirst(shape, kept, total, heads)]
        .compactMap(\.self)
      if !readings.isEmpty || shape.count < 3 || shape[0] != 1 { return readings }
      view.adjustments = [.batchDropped]
      shape.removeFirst()
    }
  }

  private var isLogits: Bool { tensor.name == ModelTap.logits.rawValue }

  /// [rows, …], the rest making up the columns.
  private func rowsFirst(_ shape: [Int], _ kept: [Int]?, _ total: Int?) -> TapView? {
    guard let first = shape.first, let selection = selection(of: first, kept, total),
      shape.dropFirst().reduce(1, *) == columns
    else { return nil }
    var view = self
    view.selected = selection.rows
    if shape.count > 2 {
      let heads = shape.dropFirst().filter { $0 > 1 }
      view.adjustments.append(heads.count > 1 ? .headsJoined : .onesDropped)
    }
    if selection.isLast { view.adjustments.append(.lastRow) }
    return view
  }

  /// [heads, rows, head_dim].
  private func headsFirst(_ shape: [Int], _ kept: [Int]?, _ total: Int?, _ heads: Int?) -> TapView? {
    guard LayerTapName(tensor.name)?.tap.hasHeads == true, shape.count == 3, shape[0] > 1,
      heads.map({ $0 == shape[0] }) ?? true, let selection = selection(of: shape[1], kept, total),
      shape[0] * shape[2] == columns
    else { return nil }
    var view = self
    view.selected = selection.rows
    view.headsFirst = (shape[0], shape[1])
    view.adjustments.append(.headsMoved)
    return view
  }

  /// Which of a candidate's rows are the reference's.
  private func selection(of rows: Int, _ kept: [Int]?, _ total: Int?) -> (rows: [Int]?, isLast: Bool)? {
    if rows == self.rows { return (nil, false) }
    guard total.map({ $0 == rows }) ?? true else { return nil }
    if let kept { return kept.allSatisfy { $0 < rows } ? (kept, false) : nil }
    return isLogits && self.rows == 1 && rows > 1 ? ([rows - 1], true) : nil
  }

  static func withoutBatch(_ shape: [Int]) -> [Int] {
    shape.count > 2 && shape[0] == 1 ? withoutBatch(Array(shape.dropFirst())) : shape
  }

  /// The digest of it, stored or made.
  ///
  /// - name: which chooses the signs of one that is made; nil for the tensor's.
  func digest(as name: String? = nil) -> TapDigest {
    if let stored = tensor.digest { return stored }
    return TapDigest(of: name ?? tensor.name, rows: rows, columns: columns) { rows, columns in
      columns.count == self.columns ? values(rows) : values(rows.lowerBound, columns: columns)
    }
  }

  /// The last row of a matrix that is not adjusted, alone.
  func lastRow() -> TapView {
    var last = self
    last.rows = 1
    last.selected = [rows - 1]
    return last
  }

  /// Some rows alone.
  func picking(_ kept: [Int]) -> TapView {
    var few = self
    few.rows = kept.count
    few.selected = kept.map { selected?[$0] ?? $0 }
    return few
  }

  /// The first rows alone.
  func first(_ count: Int) -> TapView {
    var few = self
    few.rows = count
    return few
  }

  /// Values of whole rows, one row after another.
  func values(_ range: Range<Int>) -> [Double] {
    if selected == nil && headsFirst == nil && headDim == nil {
      return tensor.values(range.lowerBound * columns..<range.upperBound * columns)
    }
    return range.flatMap { row -> [Double] in
      let stored = selected?[row] ?? row
      guard let headDim else { return storedRow(stored) }
      return adjacentPairs(storedRow(stored), headDim: headDim)
    }
  }

  /// Some values of one row: for rows that are longer than memory should hold.
  func values(_ row: Int, columns part: Range<Int>) -> [Double] {
    if headsFirst != nil || headDim != nil { return Array(values(row..<row + 1)[part]) }
    let start = (selected?[row] ?? row) * columns
    return tensor.values(start + part.lowerBound..<start + part.upperBound)
  }

  private func storedRow(_ row: Int) -> [Double] {
    guard let (heads, rows) = headsFirst else {
      return tensor.values(row * columns..<(row + 1) * columns)
    }
    let width = columns / heads
    return (0..<heads).flatMap { head -> [Double] in
      let start = (head * rows + row) * width
      return tensor.values(start..<start + width)
    }
  }
}

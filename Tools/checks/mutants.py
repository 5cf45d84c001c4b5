"""Mutants of a Python source: the same program with one small mistake.

`mutants(source)` finds the places, by the syntax tree, and says what each would become; `mutated(source,
mutant)` gives the program with it. Mistakes are those that people make: another constant, another
operator, operands or arguments the other way round, off by one, a term dropped, a comparison at its edge,
a condition turned round, a call, a transposition or a statement left out.

Not touched: docstrings, annotations, imports, `assert` (what an input must be: no case asks), the texts of
f-strings, the names of keys, and what `skip` says.
"""

import ast
import copy
import dataclasses

OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitXor: (ast.BitOr,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
COMMUTATIVE = (ast.Add, ast.Mult, ast.BitXor, ast.BitAnd, ast.BitOr)
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
NAMES = {"max": "min", "min": "max", "floor": "ceil", "any": "all", "all": "any", "cos": "sin", "sin": "cos"}
FIELDS_LEFT_ALONE = {"annotation", "returns", "decorator_list"}


@dataclasses.dataclass
class Mutant:
    path: tuple  # from the module down: (field, index or None)
    new: ast.AST  # what takes its place
    function: str  # that it is in, `Class.name`, or "" of the module
    line: int  # the first line of the statement, and the last
    end: int
    kind: str
    before: str
    after: str

    @property
    def name(self):
        return f"{self.function or 'module'}, line {self.line}: {self.before} → {self.after}"


def mutants(source, skip=lambda function, text: False):
    tree = ast.parse(source)
    found = []

    def visit(node, path, function, statement):
        if isinstance(node, (ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr)) or is_main(node):
            return
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            function = f"{function}.{node.name}" if function else node.name
        if isinstance(node, (ast.stmt, ast.match_case)):
            statement = node if isinstance(node, ast.stmt) else node.pattern
        # A compound statement is its head alone.
        last = statement.end_lineno if statement else 0
        if hasattr(statement, "body"):
            last = max(statement.lineno, statement.body[0].lineno - 1)
        if statement is not None and not skip(function, ast.unparse(statement)):
            for kind, new in [] if is_key(node, path, tree) else variants(node):
                if ast.dump(new) != ast.dump(node):  # the same argument twice, the other way round
                    found.append(
                        Mutant(path, new, function, statement.lineno, last, kind, shown(node), shown(new))
                    )
        for field, value in ast.iter_fields(node):
            if field in FIELDS_LEFT_ALONE:
                continue
            if isinstance(value, list):
                for n, child in enumerate(value):
                    if isinstance(child, ast.AST) and not is_docstring(node, field, n):
                        visit(child, (*path, (field, n)), function, statement)
            elif isinstance(value, ast.AST):
                visit(value, (*path, (field, None)), function, statement)

    visit(tree, (), "", None)
    seen = set()
    return [m for m in found if (key := (m.path, ast.dump(m.new))) not in seen and not seen.add(key)]


def is_key(node, path, tree):
    """The name of a key, or a name put together with `+`: a mistake in one is no mistake of anybody's, for
    the program stops at once.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return any(
            isinstance(side, ast.JoinedStr)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str) and "." in side.value)
            for side in (node.left, node.right)
        )
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    parent = tree
    for field, n in path[:-1]:
        parent = getattr(parent, field) if n is None else getattr(parent, field)[n]
    field = path[-1][0]
    return (
        (isinstance(parent, ast.Subscript) and field == "slice")
        or (isinstance(parent, ast.Dict) and field == "keys")
        or (
            isinstance(parent, ast.Call)
            and isinstance(parent.func, ast.Attribute)
            and parent.func.attr in ("put", "get")
        )
        or (isinstance(parent, ast.BinOp) and "." in node.value)
    )


def shown(node):
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else text[:45] + " … " + text[-22:]


def is_main(node):
    return isinstance(node, ast.If) and "__name__" in ast.dump(node.test)


def is_docstring(parent, field, n):
    return (
        field == "body"
        and n == 0
        and isinstance(parent, (ast.Module, ast.FunctionDef, ast.ClassDef))
        and isinstance(parent.body[0], ast.Expr)
        and isinstance(parent.body[0].value, ast.Constant)
    )


def variants(node):
    """What may stand in the place of a node: (kind, node)."""
    match node:
        case ast.Constant(value=bool()):
            yield "constant", ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield "constant", ast.Constant(node.value + 1)
            yield "constant", constant(node.value - 1)
        case ast.Constant(value=float()):
            yield "constant", constant(node.value * 1.5 if node.value else 1.0)
            if node.value:
                yield "constant", constant(-node.value)
        case ast.Constant(value=str()):
            yield "constant", ast.Constant(node.value + "x" if node.value else "x")
        case ast.Constant(value=bytes()):
            yield "constant", ast.Constant(node.value + b"x")
        case ast.BinOp():
            for other in OPERATORS.get(type(node.op), ()):
                yield "operator", with_field(node, "op", other())
            if not isinstance(node.op, COMMUTATIVE):
                yield "order", ast.BinOp(node.right, node.op, node.left)
            yield "dropped", node.left
            yield "dropped", node.right
        case ast.AugAssign():
            for other in OPERATORS.get(type(node.op), ()):
                yield "operator", with_field(node, "op", other())
            yield "dropped", ast.Pass()
        case ast.Compare(ops=[operator]):
            for other in COMPARISONS[type(operator)]:
                yield "comparison", with_field(node, "ops", [other()])
        case ast.Compare():
            for n, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    yield "comparison", with_field(node, "ops", [*node.ops[:n], other(), *node.ops[n + 1 :]])
        case ast.BoolOp():
            yield "operator", with_field(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
            for n in range(len(node.values)):
                rest = node.values[:n] + node.values[n + 1 :]
                yield "dropped", rest[0] if len(rest) == 1 else with_field(node, "values", rest)
        case ast.UnaryOp():
            yield "dropped", node.operand
        case ast.IfExp():
            yield "dropped", node.body
            yield "dropped", node.orelse
        case ast.If() | ast.While():
            yield "condition", with_field(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.comprehension(ifs=[_, *_]):
            yield "dropped", with_field(node, "ifs", [])
        case ast.Slice():
            for field in ("lower", "upper", "step"):
                if getattr(node, field) is not None:
                    yield "index", with_field(node, field, None)
                    if field != "step" and not isinstance(getattr(node, field), ast.Constant):
                        one_more = ast.BinOp(getattr(node, field), ast.Add(), ast.Constant(1))
                        yield "index", with_field(node, field, one_more)
        case ast.Attribute(attr="T"):
            yield "dropped", node.value
        case ast.Call():
            yield from calls(node)
        case ast.Expr(value=ast.Call() | ast.Yield()) | ast.Delete():
            yield "dropped", ast.Pass()
        case ast.Return(value=ast.expr()):
            yield "dropped", with_field(node, "value", ast.Constant(None))
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield "dropped", ast.Pass()
        case ast.Break() | ast.Continue():
            yield "dropped", ast.Pass()


def calls(node):
    arguments = node.args
    is_symmetric = isinstance(node.func, ast.Name) and node.func.id in ("max", "min", "word", "kept")
    for n in range(0 if is_symmetric else len(arguments) - 1):
        if not any(isinstance(a, ast.Starred) for a in arguments[n : n + 2]):
            swapped = [*arguments[:n], arguments[n + 1], arguments[n], *arguments[n + 2 :]]
            yield "order", with_field(node, "args", swapped)
    if len(arguments) == 1 and not node.keywords and isinstance(node.func, ast.Name):
        yield "dropped", arguments[0]
    match node.func:
        case ast.Attribute(value=ast.Name(id="np" | "math"), attr=name):
            if name in NAMES:
                yield "operator", with_field(node, "func", with_field(node.func, "attr", NAMES[name]))
            if len(arguments) == 1 and name not in ("array", "arange", "empty_like"):
                yield "dropped", arguments[0]
        case ast.Attribute(value=value, attr=name) if not isinstance(value, ast.Constant):
            if name in ("strip", "rstrip", "lstrip", "lower", "replace", "astype", "transpose"):
                yield "dropped", value
        case ast.Name(id=name) if name in NAMES:
            yield "operator", with_field(node, "func", ast.Name(NAMES[name], ast.Load()))


def constant(value):
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def with_field(node, field, value):
    changed = copy.copy(node)
    setattr(changed, field, value)
    return changed


def mutated(source, mutant):
    """The program with a mutant in it, as code. SyntaxError if there is no such program."""
    tree = ast.parse(source)
    node = tree
    for field, n in mutant.path[:-1]:
        node = getattr(node, field) if n is None else getattr(node, field)[n]
    field, n = mutant.path[-1]
    new = copy.deepcopy(mutant.new)
    if n is None:
        setattr(node, field, new)
    else:
        getattr(node, field)[n] = new
    # Written out and read again: a number in a pattern of `match` cannot be any expression.
    return compile(ast.unparse(ast.fix_missing_locations(tree)), f"<{mutant.name}>", "exec")

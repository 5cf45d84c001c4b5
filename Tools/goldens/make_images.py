"""Makes the small images of the model cases, in Fixtures/images, from the photographs that lie
there.

Run without arguments. The photographs (astronaut.png and rocket.jpg: public domain; chelsea.png: CC0) are
only read. Each picture is small on purpose: the cases keep whole traces of them. What each is for:

  model-image.png    86x58, RGB: no side is a multiple of 16 (so it is stretched), and it is wider than high: 6 columns by 4 rows
  model-left.jpg     90x40, JPEG: the first of two images, 6 columns by 3 rows
  model-right.png    33x70, RGB: the second of two, 3 columns by 5 rows: another size *and* the other orientation
  model-alpha.png    11x7, RGBA: opaque, half transparent and fully transparent pixels; the transparent ones are black (and, in one
                     column, pure red), which shows as soon as alpha is dropped instead of laid on white
  model-late.jpg     40x24, JPEG: the one image near the end of the long prompt, 3 columns by 2 rows

The requests of the full shape (cases/model/large) take parts of the photographs as they are. Their sides
are multiples of 16, so that nothing is stretched:

  large-cat.jpg      448x288, JPEG: 28 columns by 18 rows
  large-rocket.png   192x320, RGB: 12 columns by 20 rows
"""

from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parent.parent.parent / "Fixtures" / "images"


def crop(photo, box, size):
    """The part `box` (left, top, right, bottom) of a photograph, scaled to `size` (width, height)."""
    with Image.open(IMAGES / photo) as image:
        result = image.convert("RGB").crop(box).resize(size, Image.Resampling.LANCZOS)
    result.info.clear()  # no colour profile or other metadata of the photograph
    return result


def alpha_image():
    """An 11x7 picture in which transparency goes from left (opaque) to right (fully transparent).

    The last three columns have alpha 0. Their colour should not matter, since they are laid on
    white: two are black, one is red.
    """
    image = crop("chelsea.png", (140, 90, 250, 160), (11, 7)).convert("RGBA")
    alpha = [255, 255, 230, 191, 160, 128, 64, 1, 0, 0, 0]
    for y in range(image.height):
        for x in range(image.width):
            red, green, blue, _ = image.getpixel((x, y))
            if alpha[x] == 0:
                red, green, blue = (255, 0, 0) if x == 9 else (0, 0, 0)
            image.putpixel((x, y), (red, green, blue, alpha[x]))
    return image


def main():
    png = {"optimize": True}
    jpeg = {"quality": 90, "subsampling": "4:2:0"}
    crop("astronaut.png", (138, 30, 396, 204), (86, 58)).save(IMAGES / "model-image.png", **png)
    crop("chelsea.png", (60, 60, 330, 180), (90, 40)).save(IMAGES / "model-left.jpg", **jpeg)
    crop("astronaut.png", (170, 10, 302, 290), (33, 70)).save(IMAGES / "model-right.png", **png)
    alpha_image().save(IMAGES / "model-alpha.png", **png)
    crop("chelsea.png", (120, 60, 360, 204), (40, 24)).save(IMAGES / "model-late.jpg", **jpeg)
    crop("chelsea.png", (0, 0, 448, 288), (448, 288)).save(IMAGES / "large-cat.jpg", **jpeg)
    crop("rocket.jpg", (224, 60, 416, 380), (192, 320)).save(IMAGES / "large-rocket.png", **png)


if __name__ == "__main__":
    main()

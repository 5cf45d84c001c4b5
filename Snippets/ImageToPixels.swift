// An image to what the vision encoder takes.

import PixtralImage

let image = try RGBImage(file: "Fixtures/images/chelsea.png")
print(ImageRule.m1.grid(image.size))  // PatchGrid(columns: 29, rows: 19)

let pixels = Pixels(image)  // [3, 304, 464], normalised
print(pixels[0, 0, 0])  // the red of the first pixel

/** Makes a photograph small enough for a thin line, on the device: what a camera makes is ten times what a screen shows. */

/** Pixels of the longer side; enough to see a rash by. */
const SIDE_MAX = 2_048;
/** Below this an image is sent as it is, in bytes. */
const SMALL = 400_000;
const QUALITY = 0.85;

/** The image, smaller where that can be done here; where it cannot, as it is. */
export async function shrunk(image: Blob): Promise<Blob> {
  if (image.size <= SMALL) return image;
  try {
    const bitmap = await createImageBitmap(image, { imageOrientation: 'from-image' });
    const scale = Math.min(1, SIDE_MAX / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext('2d')?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const smaller = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/jpeg', QUALITY));
    return smaller && smaller.size < image.size ? smaller : image;
  } catch {
    // The server says what it does not take.
    return image;
  }
}

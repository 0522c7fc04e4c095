/** People of the staff, at the links they are handed. */

export const PASSWORD = 'a good long password';

/** Chooses a password on the page of a one-time link. */
export async function choosePassword(page, password = PASSWORD) {
  await page.getByLabel('New password', { exact: true }).fill(password);
  await page.getByLabel('New password again').fill(password);
  await page.getByRole('button', { name: 'Set password', exact: true }).click();
}

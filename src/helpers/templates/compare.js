for (const table of document.querySelectorAll("table.sorted")) sorted(table);

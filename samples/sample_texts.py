"""The words of the sample documents, written for this project (CC0). People, firms and numbers are invented."""

from __future__ import annotations

LETTER_RU_HEAD = [
    "Общество с ограниченной ответственностью",
    "«Северный архив»",
    "163000, г. Архангельск, наб. Рыбацкая, д. 14, офис 7",
    "тел. (8182) 55-01-23, arhiv@example.org",
]
LETTER_RU_NUMBER = "17.03.2025 № 118-04"
LETTER_RU_TO = [
    "Директору типографии",
    "«Берег»",
    "Г. П. Колосовой",
]
LETTER_RU_SUBJECT = "О передаче документов на оцифровку"
LETTER_RU_GREETING = "Уважаемая Галина Петровна!"
LETTER_RU_BODY = [
    (
        "В ответ на ваше письмо от 3 марта сообщаем, что первая часть архива типографии подготовлена к передаче. "
        "Она занимает двенадцать коробов и содержит около четырёх тысяч листов: заказы, сметы, переписку с "
        "поставщиками бумаги и акты приёмки за 1994–2003 годы."
    ),
    (
        "Все листы разложены по датам, скрепки и скобы удалены. Ветхие страницы вложены в прозрачные папки и "
        "отмечены жёлтыми закладками; просим сканировать их отдельно, не пользуясь автоматической подачей. "
        "Печати и подписи должны оставаться различимыми, поэтому мы предлагаем разрешение не ниже 200 точек "
        "на дюйм и оттенки серого."
    ),
    (
        "Готовые файлы просим складывать в общую папку по мере готовности. Распознавание текста выполняется "
        "на нашем сервере ночью, и к утру рядом с каждым документом появляется его текст. Если страница "
        "окажется пустой или нечитаемой, мы сообщим об этом в тот же день."
    ),
    (
        "Вторую часть архива мы рассчитываем передать до конца апреля. Перевозку в оба конца берём на себя. "
        "Контактное лицо по всем вопросам: Илья Андреевич Шубин, добавочный номер 204."
    ),
]
LETTER_RU_CLOSING = ["С уважением,", "заведующая хранением"]
LETTER_RU_SIGNED = "В. С. Лебедева"
LETTER_RU_ENCLOSED = "Приложение: опись коробов на 3 л. в 1 экз."

LETTER_EN_HEAD = ["Harrow & Finch", "Bookbinders and paper conservators"]
LETTER_EN_ADDRESS = "9 Millpond Lane, Eastmere · post@example.com · 01632 960 144"
LETTER_EN_TO = ["Ms Eleanor Whitby", "The Eastmere Local History Society", "22 Chapel Street", "Eastmere"]
LETTER_EN_DATE = "6 May 2025"
LETTER_EN_GREETING = "Dear Ms Whitby,"
LETTER_EN_BODY = [
    (
        "Thank you for bringing the three parish ledgers to our workshop last week. We have now looked at each of "
        "them page by page and can tell you what we propose to do, how long it will take and what it will cost."
    ),
    (
        "The oldest volume, which covers the years 1871 to 1889, is in better condition than its cover suggests. "
        "The paper is sound and the ink has not faded, but the spine has split in two places and the first eleven "
        "leaves are loose. We would sew these back in, line the spine with linen and keep the original boards."
    ),
    (
        "The second and third volumes have suffered from damp. The lower corners of about forty pages are stained, "
        "and some have stuck together. They can be separated, but the work is slow and must be done by hand. Please "
        "do not try to open these pages yourself, since the surface of the paper comes away with the ink."
    ),
    (
        "Before any repair begins we recommend that all three ledgers be scanned. A copy will spare the originals "
        "from handling, and your members will be able to search the text on an ordinary computer. We expect the "
        "whole job to take nine weeks. The estimate is attached; it is valid until the end of July."
    ),
]
LETTER_EN_CLOSING = "Yours sincerely,"
LETTER_EN_SIGNED = ["Thomas Finch", "Senior conservator"]

INVOICE_SELLER = [
    "Поставщик: ООО «Канцелярский двор»",
    "ИНН 7700000001, КПП 770001001",
    "Адрес: 115000, г. Москва, ул. Складская, д. 5, стр. 2",
    "Банк: АО «Пример Банк», БИК 040000001",
    "Счёт получателя: 40702810000000001234",
]
INVOICE_TITLE = "Счёт на оплату № 482 от 24 марта 2025 г."
INVOICE_BUYER = "Покупатель: ООО «Северный архив», ИНН 2900000002"
INVOICE_BASIS = "Основание: договор поставки № 31 от 15 января 2025 г."
INVOICE_COLUMNS = ["№", "Наименование товара", "Ед.", "Кол-во", "Цена, руб.", "Сумма, руб."]
INVOICE_ITEMS = [  # name, unit, count, price in kopecks
    ("Бумага офисная А4, 500 листов", "пач.", 40, 385_00),
    ("Папка-регистратор 75 мм", "шт.", 24, 249_50),
    ("Картридж для лазерного принтера", "шт.", 3, 4120_00),
    ("Короб архивный 100 мм", "шт.", 60, 96_40),
    ("Скоросшиватель картонный", "шт.", 200, 18_25),
    ("Доставка по городу", "усл.", 1, 1200_00),
]
INVOICE_IN_WORDS = "Сорок четыре тысячи триста восемьдесят два рубля 00 копеек"
INVOICE_NOTES = [
    (
        "Счёт действителен в течение пяти банковских дней. Товар отпускается после поступления денег "
        "на счёт поставщика. При получении необходима доверенность."
    ),
]
INVOICE_SIGNED = [("Руководитель", "О. И. Самсонов"), ("Бухгалтер", "Н. В. Крылова")]

NEWS_TITLE = "The Lantern"
NEWS_LINE = "News of the Eastmere Local History Society"
NEWS_ISSUE = "Number 27 · Spring 2025"
NEWS: list[tuple[str, str]] = [
    ("head", "A box in the attic"),
    (
        "text",
        (
            "When the old schoolhouse on Chapel Street was sold in January, the builders found a tin box behind "
            "the water tank. Inside lay forty letters, a school register and a map drawn on the back of a "
            "seed merchant's poster. The new owners kindly gave the box to the Society."
        ),
    ),
    (
        "text",
        (
            "The letters were written between 1903 and 1911 by Agnes Rowe, who taught the younger children. She "
            "wrote to her sister every month, and told her about the weather, the price of coal and the pupils who "
            "made her laugh. One boy brought a hedgehog to class and insisted that it wished to learn to read."
        ),
    ),
    (
        "text",
        (
            "We have begun to copy the letters. Each sheet is scanned on both sides, and the printed pages of the "
            "register are turned into text by a program that runs overnight. The handwriting still has to be typed "
            "by people. If you can spare an hour on a Tuesday evening, please come and help."
        ),
    ),
    ("head", "What the map shows"),
    (
        "text",
        (
            "The map has no date, but it must be older than the railway, because the line is missing and the brick "
            "kilns are still there. It names seven fields that nobody living can remember: Long Piece, Goose Acre, "
            "Parson's Folly, Upper and Lower Withy, Candle Croft and the Stray."
        ),
    ),
    (
        "text",
        (
            "Our chairman walked the boundary of Goose Acre in March with a copy of the map in his hand. Three of "
            "the four corner stones are where the map puts them. The fourth now serves as a doorstep."
        ),
    ),
    ("head", "Dates for your diary"),
    (
        "text",
        (
            "On Saturday 12 April there will be a guided walk along the mill stream. Meet at ten o'clock beside the "
            "footbridge, and wear stout shoes. Dogs are welcome if they are kept on a lead."
        ),
    ),
    (
        "text",
        (
            "On Thursday 8 May Dr Miriam Okafor will talk about the lighthouse keepers of the east coast. The talk "
            "begins at half past seven in the reading room. Tea and cake will be served, and the collection goes "
            "towards the repair of the parish ledgers."
        ),
    ),
    ("head", "From the treasurer"),
    (
        "text",
        (
            "Last year 148 members paid their subscription, nine more than the year before. We spent less on "
            "postage and more on shelves. The reserve stands at a little over two thousand pounds, which is enough "
            "to mend one ledger properly, or three of them badly. The committee has chosen the first."
        ),
    ),
    (
        "text",
        (
            "Subscriptions for the coming year are due by the end of June. They remain at twelve pounds, or twenty "
            "for a household, and may be paid at any meeting."
        ),
    ),
    ("head", "Can you help?"),
    (
        "text",
        (
            "We are looking for photographs of the market square before the fire of 1958. Albums will be copied "
            "while you wait and handed straight back to you."
        ),
    ),
]

NOISY_TITLE = ["Памятка", "для посетителей читального зала"]
NOISY_BODY = [
    (
        "Читальный зал открыт со вторника по субботу с десяти до восемнадцати часов. В последний рабочий день "
        "месяца зал закрыт: в этот день мы проверяем фонд и чистим полки."
    ),
    (
        "Документы заказывают накануне. Заполните требование разборчиво, укажите фонд, опись и номер дела. За "
        "один раз можно получить не больше пяти дел."
    ),
    (
        "Верхнюю одежду, зонты и большие сумки оставляйте в гардеробе. На столах разрешены только карандаши, "
        "бумага и ноутбук без чехла. Чернильные ручки приносить нельзя."
    ),
    (
        "Переворачивайте листы за верхний угол чистыми сухими руками. Если страница порвана или склеена, не "
        "пытайтесь разделить её сами, а позовите дежурного."
    ),
    (
        "Снимать документы на телефон можно бесплатно, но без вспышки. Копии с печатью архива готовят в течение "
        "трёх рабочих дней."
    ),
    (
        "Уходя, сдайте дела дежурному и дождитесь, пока он проверит листы. Спасибо, что бережёте архив вместе с "
        "нами!"
    ),
]
NOISY_FOOT = "Утверждено 9 сентября 2024 г."

REPORT_FOOT = "Оцифровка фонда / Digitisation report"
REPORT_1_TITLE = "Отчёт об оцифровке фонда за первый квартал"
REPORT_1: list[tuple[str, str]] = [
    ("head", "1. Что сделано"),
    (
        "text",
        (
            "С января по март отсканировано 9 640 страниц, это на пятую часть больше, чем планировалось. Работа шла "
            "на двух сканерах: планшетном для ветхих листов и потоковом для остальных."
        ),
    ),
    (
        "text",
        (
            "Самой трудной оказалась переписка пятидесятых годов. Она напечатана под копирку на тонкой бумаге, и "
            "буквы третьего экземпляра расплываются. Такие листы пришлось снимать по одному, с чёрной подложкой."
        ),
    ),
    ("head", "2. Качество распознавания"),
    (
        "text",
        (
            "Для проверки выбрано сто случайных страниц. На печатных листах ошибочно прочитан один знак из "
            "двухсот, на машинописных один из сорока. Рукописные пометки не распознаются и остаются на "
            "изображении."
        ),
    ),
    (
        "text",
        (
            "Чаще всего путаются похожие буквы и цифры: ноль и буква «О», тройка и буква «З». На поиск по тексту "
            "это почти не влияет, но номера дел мы сверяем вручную."
        ),
    ),
    ("head", "3. Планы"),
    (
        "text",
        (
            "Во втором квартале предстоит закончить заказы типографии и начать метрические книги. Понадобятся ещё "
            "один потоковый сканер и диск на восемь терабайт."
        ),
    ),
]
REPORT_2_TITLE = "Summary for our partners"
REPORT_2 = [
    (
        "Between January and March the team scanned 9,640 pages, a fifth more than planned. Two scanners were in "
        "use: a flatbed for fragile sheets and a document feeder for everything else."
    ),
    (
        "A sample of one hundred pages was checked by hand. In printed matter one character in two hundred was "
        "wrong, in typescript one in forty. Most of the errors do not stand in the way of a search."
    ),
]
REPORT_2_CHART = "Pages scanned per month"
REPORT_2_BARS = [("January", 2480), ("February", 3150), ("March", 4010)]
REPORT_2_AFTER = [
    (
        "The rise in March is due to the second operator, who joined us on the first of the month. We expect to keep "
        "this pace until the summer, when the reading room is painted and the scanners have to move."
    ),
]
REPORT_3_TITLE = "Словарь терминов / Glossary"
REPORT_3: list[tuple[str, str]] = [
    ("Опись (inventory)", "перечень дел фонда с номерами и крайними датами."),
    ("Дело (file)", "документы в одной обложке, относящиеся к одному вопросу."),
    ("Page image", "a picture of one side of a sheet; в отчёте считаются именно такие страницы."),
    ("Оттенки серого (greyscale)", "режим сканирования, при котором у каждой точки 256 уровней яркости."),
    ("Text layer", "the invisible words behind the picture, по которым работает поиск в файле PDF."),
    ("Перекос (skew)", "наклон строк на изображении; до двух градусов он исправляется сам."),
]
REPORT_3_SIGNED = "Отчёт составил И. А. Шубин, translated by E. Whitby"

MINUTES_TITLE = ["ПРОТОКОЛ № 6", "заседания комиссии по отбору документов"]
MINUTES_DATE = "г. Архангельск, 28 февраля 2025 г."
MINUTES_PRESENT = [
    "Председатель: В. С. Лебедева",
    "Секретарь: М. О. Чижова",
    "Присутствовали: И. А. Шубин, Р. К. Давыдов, А. Ю. Носова",
]
MINUTES_AGENDA = [
    "Повестка дня:",
    "1. О сроках хранения бухгалтерских документов.",
    "2. О передаче дел типографии на оцифровку.",
    "3. О ремонте второго хранилища.",
]
MINUTES_1: list[tuple[str, str]] = [
    ("head", "По первому вопросу"),
    (
        "text",
        (
            "Слушали Р. К. Давыдова. Он сообщил, что истёк срок хранения первичных документов за 2018 год, всего "
            "тридцать семь дел. Проверка показала, что два дела содержат договоры аренды и должны храниться "
            "постоянно."
        ),
    ),
    (
        "text",
        (
            "Решили: выделить к уничтожению тридцать пять дел, составить акт; два дела с договорами включить в "
            "опись постоянного хранения. Проголосовали единогласно."
        ),
    ),
    ("head", "По второму вопросу"),
    (
        "text",
        (
            "Слушали И. А. Шубина. Дела типографии за десять лет занимают двенадцать коробов. До передачи нужно "
            "снять скрепки, пронумеровать листы и отметить ветхие страницы. Для этого потребуется две недели."
        ),
    ),
]
MINUTES_2: list[tuple[str, str]] = [
    (
        "text",
        (
            "А. Ю. Носова предложила передавать короба двумя частями, чтобы читатели не остались без документов на "
            "весь срок. Предложение принято."
        ),
    ),
    (
        "text",
        (
            "Решили: подготовить первую часть до 15 марта, вторую до 25 апреля; ответственным назначить "
            "И. А. Шубина. Проголосовали единогласно."
        ),
    ),
    ("head", "По третьему вопросу"),
    (
        "text",
        (
            "Слушали М. О. Чижову. Осмотр показал, что во втором хранилище отсырела северная стена, влажность "
            "поднялась до семидесяти процентов. Стеллажи у этой стены освобождены, дела временно перенесены в "
            "коридор первого этажа."
        ),
    ),
    (
        "text",
        (
            "Решили: просить владельца здания провести ремонт до начала лета; измерять влажность дважды в день и "
            "записывать показания в журнал. Проголосовали: за четверо, воздержался один."
        ),
    ),
    ("text", "Следующее заседание назначено на 28 марта 2025 года в 15 часов."),
]
MINUTES_SIGNED = [("Председатель", "В. С. Лебедева"), ("Секретарь", "М. О. Чижова")]

RECEIPT_HEAD = ["КАФЕ «МАЯК»", "наб. Рыбацкая, д. 2", "Счёт № 0315", "31.03.2025 13:42"]
RECEIPT_ITEMS = [
    ("Уха рыбацкая", 2, 320_00),
    ("Пирог с капустой", 3, 95_00),
    ("Чай чёрный", 3, 60_00),
    ("Морс клюквенный", 1, 85_00),
]
RECEIPT_FOOT = ["Оплата: карта", "Спасибо! Ждём вас снова."]

BORN: list[list[tuple[str, str]]] = [
    [
        ("title", "Как сдать документы в архив"),
        (
            "text",
            "Эта страница создана сразу в цифровом виде: её текст хранится в самом файле, и его можно выделить и скопировать.",
        ),
        ("head", "Перед сдачей"),
        (
            "text",
            "Сложите документы по годам, а внутри года по датам. Удалите скрепки, закладки и пустые листы. На обложке напишите название организации, заголовок дела и число листов.",
        ),
        (
            "text",
            "Если документов много, составьте опись. Одна строка описи соответствует одному делу: порядковый номер, заголовок, крайние даты, количество листов.",
        ),
        ("head", "В день сдачи"),
        (
            "text",
            "Приходите к девяти часам утра к служебному входу. Сотрудник проверит опись и подпишет её в двух экземплярах, один из них останется у вас.",
        ),
    ],
    [
        ("title", "How to deposit your papers"),
        (
            "text",
            "This page was born digital: its text is part of the file, so that it can be selected and copied.",
        ),
        ("head", "Before you come"),
        (
            "text",
            "Sort your papers by year, and within each year by date. Take out paper clips, bookmarks and blank sheets. Write the name of your organisation, a title and the number of sheets on each cover.",
        ),
        (
            "text",
            "If there are many papers, draw up a list. Each line of the list stands for one file: its number, its title, the first and the last date, and the number of sheets.",
        ),
        ("head", "On the day"),
        (
            "text",
            "Come to the side entrance at nine in the morning. A member of staff will check the list and sign both copies of it; one of them is yours to keep.",
        ),
    ],
]

LOCKED: list[list[tuple[str, str]]] = [
    [
        ("title", "Закрытый лист / A locked sheet"),
        (
            "text",
            "Этот файл зашифрован. Без пароля его нельзя прочитать, и программа должна честно об этом сказать.",
        ),
        (
            "text",
            "This file is encrypted. It cannot be read without its password, and the program has to say so.",
        ),
    ],
]
